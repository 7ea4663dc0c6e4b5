"""Sets the demo up in a running platform, once."""

from pathlib import Path
from typing import TYPE_CHECKING

from kit.clock import FileClock
from leadline.client import Client
from leadline.state import StateDir, write_private

if TYPE_CHECKING:
    from leadline.demo.seed import Steps


def set_up(client: Client, root: Path, steps: "Steps") -> None:
    """Seed the platform behind ``client`` whose state is in ``root``, unless that has been done.

    The demo begins at the instant at which its clock stands.
    """
    seeded = root / "demo" / "seeded.json"
    if seeded.exists():
        return
    # What trains models takes seconds to import; a platform that starts again is spared them.
    from leadline.demo.seed import seed

    begins_us = FileClock(StateDir(root).clock_file).now_us()
    seeded.parent.mkdir(exist_ok=True)
    seed(client, root, steps, begins_us)
    write_private(seeded, {"begins_us": begins_us})
