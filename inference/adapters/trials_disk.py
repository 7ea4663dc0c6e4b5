"""A model that ends the process that loads it does so a few times, and not at every start.

Native code opens and warms a model. One that crashes it, or takes more memory than there is, ends
the whole replica, which then starts, reads the same routing table, loads the same model and ends
again: all other models would be away with it. So it is written down that a load began, and struck
out when it came back, well or not. What still stands there ended the process.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from kit.clock import Clock
from kit.logs import get_logger

_log = get_logger(__name__)

ENDS_MAX = 3
"""So often a process may end for another reason while it loads (a machine that is switched off)."""
PAUSE_S, PAUSE_GROWTH_MAX = 600, 64
"""Until a load is tried once more, and how much longer at most after each time it ended badly."""


class TrialRefused(ValueError):
    """The model ended this process too often."""


class DiskTrials:
    """See ``inference.ports.Trials``; a file for each load that began and did not come back."""

    def __init__(self, folder: Path, replica: str, clock: Clock) -> None:
        self._folder = folder
        self._replica = replica
        self._clock = clock
        self._begun: set[Path] = set()

    @contextmanager
    def begin(self, sha256: str) -> Iterator[None]:
        """Raises ``TrialRefused``."""
        place = self._folder / f"{sha256}.{self._replica}"
        ends_us = _read(place)
        if len(ends_us) >= ENDS_MAX:
            growth = min(2 ** (len(ends_us) - ENDS_MAX), PAUSE_GROWTH_MAX)
            due_us = ends_us[-1] + growth * PAUSE_S * 1_000_000
            if self._clock.wall_us() < due_us:
                raise TrialRefused(_told(len(ends_us), due_us))
        self._write(place, [*ends_us, self._clock.wall_us()])
        try:
            yield
        finally:
            self._strike_out(place)

    def close(self) -> None:
        """The process ends because it was asked to: loads that are not done yet are no fault."""
        for place in tuple(self._begun):
            self._strike_out(place)

    def _write(self, place: Path, began_us: list[int]) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            place.write_text("".join(f"{at_us}\n" for at_us in began_us))
        except OSError as refused:  # a full disk, perhaps: most models do no harm
            _log.warning("trial_not_noted", reason=refused.strerror)
        else:
            self._begun.add(place)

    def _strike_out(self, place: Path) -> None:
        self._begun.discard(place)
        with suppress(OSError):
            place.unlink()


def _read(place: Path) -> list[int]:
    """When loads began that did not come back; none where the file says nothing sound."""
    try:
        return [int(line) for line in place.read_text().splitlines()]
    except (OSError, ValueError):
        return []


def _told(ends: int, due_us: int) -> str:
    due = datetime.fromtimestamp(due_us / 1e6, UTC)
    return (
        f"this process ended {ends} times while it loaded this model (a crash, or too little "
        f"memory); it is tried again after {due:%Y-%m-%dT%H:%M:%SZ}"
    )
