"""Sets the demo up in a running platform, once."""

from pathlib import Path
from typing import TYPE_CHECKING

from kit.clock import FileClock
from leadline.client import Client
from leadline.state import StateDir, write_private

if TYPE_CHECKING:
    from leadline.demo.seed import Steps


def is_set_up(state: StateDir) -> bool:
    """Whether that was done to its end."""
    return _seeded(state).exists()


def set_up(state: StateDir, steps: "Steps") -> None:
    """Seed the running platform, unless that has been done.

    The demo begins at the instant at which its clock stands.
    """
    if is_set_up(state):
        return
    with steps.step("demo: training libraries loaded"):
        from leadline.demo.seed import seed

    begins_us = FileClock(state.clock_file).now_us()
    _seeded(state).parent.mkdir(exist_ok=True)
    with Client.from_state(state, timeout_s=120.0) as client:
        seed(client, state.root, steps, begins_us)
    write_private(_seeded(state), {"begins_us": begins_us})


def _seeded(state: StateDir) -> Path:
    return state.root / "demo" / "seeded.json"
