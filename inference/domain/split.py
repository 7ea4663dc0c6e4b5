"""Which arm a unit falls into."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from contracts.assignment import BUCKETS, bucket_of
from contracts.routing import ModelRoute


@dataclass(frozen=True, slots=True)
class Split:
    """The buckets of a route's arms.

    ``ends[i]`` is the first bucket after those of arm i + 1; whatever lies beyond the last belongs
    to arm 0.
    """

    salt: str
    ends: tuple[int, ...]

    def arm_of(self, unit: str) -> int:
        """Index of the arm that answers this unit; the same on every replica."""
        if not self.ends:
            return 0
        arm = bisect_right(self.ends, bucket_of(self.salt, unit)) + 1
        return 0 if arm > len(self.ends) else arm

    def arms_of(self, units: Sequence[str]) -> list[int]:
        """``arm_of`` for each unit; costs nothing where there is one arm."""
        if not self.ends or self.ends[-1] == 0:
            return [0] * len(units)
        return [self.arm_of(unit) for unit in units]


def split_of(route: ModelRoute) -> Split:
    """The split that a route's weights describe."""
    ends, total = [], 0.0
    for arm in route.arms[1:]:
        total += arm.weight
        ends.append(min(BUCKETS, round(total * BUCKETS)))
    return Split(route.salt, tuple(ends))


def unit_of(values: Sequence[object]) -> str:
    """The unit that key values make: one value as text, several joined by ``|``.

    A ``|`` or backslash inside a value is escaped, so that different keys never meet.
    """
    parts = ["" if value is None else str(value) for value in values]
    if len(parts) == 1:
        return parts[0]
    return "|".join([_escaped(part) if "|" in part or "\\" in part else part for part in parts])


def units_of(rows: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> list[str]:
    """``unit_of`` the key values of each row; one key that is a text costs no call a row."""
    if len(keys) == 1:
        texts: list[Any] = [row.get(keys[0]) for row in rows]
        if set(map(type, texts)) == {str}:
            return texts
    return [unit_of([row.get(key) for key in keys]) for row in rows]


def _escaped(part: str) -> str:
    return part.replace("\\", "\\\\").replace("|", "\\|")
