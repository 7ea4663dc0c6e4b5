"""Which records of a producer have been applied: a high-water mark and the holes below it.

Producers number their records from 1 without gaps, and the shipper sends in order, so the memory
is one number, plus an interval for every stretch that was jumped over.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

HOLES_MAX = 1_000
"""More holes than this are closed from the oldest on: what they missed counts as lost for good."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Applied: every number up to ``high`` but those inside ``holes`` (sorted, inclusive)."""

    high: int = 0
    holes: tuple[tuple[int, int], ...] = ()

    @property
    def missing(self) -> int:
        """How many numbers below ``high`` have not come."""
        return sum(last - first + 1 for first, last in self.holes)


def admit(progress: Progress, number: int) -> tuple[Progress, bool]:
    """The progress after ``number`` has come, and whether it was new."""
    if number > progress.high:
        holes = progress.holes
        if number > progress.high + 1:
            holes = (*holes, (progress.high + 1, number - 1))[-HOLES_MAX:]
        return Progress(number, holes), True
    at = bisect_right(progress.holes, number, key=lambda hole: hole[0]) - 1
    if at < 0 or number > progress.holes[at][1]:
        return progress, False
    first, last = progress.holes[at]
    rest = tuple(hole for hole in ((first, number - 1), (number + 1, last)) if hole[0] <= hole[1])
    return Progress(progress.high, (*progress.holes[:at], *rest, *progress.holes[at + 1 :])), True


def admit_all(progress: Progress, numbers: Sequence[int]) -> tuple[Progress, list[bool]]:
    """The progress after all ``numbers`` [n] have come in this order, and which were new."""
    if list(numbers) == list(range(progress.high + 1, progress.high + 1 + len(numbers))):
        return Progress(progress.high + len(numbers), progress.holes), [True] * len(numbers)
    new = []
    for number in numbers:
        progress, fresh = admit(progress, number)
        new.append(fresh)
    return progress, new
