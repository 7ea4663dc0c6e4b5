"""What the answer should be, by the rules and by brute force: a loop over every row ever pushed."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

Key = tuple[Any, ...]
Status = str


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a source as it was pushed."""

    key: Key
    event: int
    created: int
    ingested: int
    seq: int
    values: dict[str, Any]
    deleted: bool
    lag: int | None

    @property
    def order(self) -> tuple[int, int, int]:
        return self.event, self.created, self.seq

    def available(self, mode: str) -> int:
        if mode == "event":
            return self.event
        known = max(self.event, self.created)
        return max(known, self.ingested) if self.lag is None else known + self.lag


def _seen(rows: Sequence[Row], key: Key, t: int, mode: str) -> list[Row]:
    if None in key:
        return []
    seen = [row for row in rows if row.key == key and row.available(mode) <= t]
    return sorted(seen, key=lambda row: row.order)


def latest(
    rows: Sequence[Row], key: Key, t: int, feature: str, max_age: int | None, mode: str = "known"
) -> tuple[Any, Status]:
    """The value and status of a latest view's feature."""
    seen = _seen(rows, key, t, mode)
    if not seen or seen[-1].deleted:
        return None, "NOT_FOUND"
    if max_age is not None and t - seen[-1].event > max_age:
        return None, "OUTSIDE_MAX_AGE"
    value = seen[-1].values.get(feature)
    return value, "NULL_VALUE" if value is None else "PRESENT"


def window(
    rows: Sequence[Row], key: Key, t: int, first: int, function: str, column: str | None,
    mode: str = "known",
) -> tuple[Any, Status]:  # fmt: skip
    """The value and status of an aggregate over the rows with ``first <= event <= t``."""
    seen = _seen(rows, key, t, mode)
    tombs = [place for place, row in enumerate(seen) if row.deleted]
    inside = [row for row in seen[tombs[-1] + 1 if tombs else 0 :] if row.event >= first]
    if function == "count" and column is None:
        return len(inside), "PRESENT"
    assert column is not None
    if function == "last":
        value = inside[-1].values[column] if inside else None
    else:
        value = _aggregate(function, [row.values[column] for row in inside])
    return value, "NULL_VALUE" if value is None else "PRESENT"


def _aggregate(function: str, values: list[Any]) -> Any:
    values = [value for value in values if value is not None]
    if function == "count":
        return len(values)
    whole = all(isinstance(value, int) for value in values)
    if function == "sum":
        return _sum(values) if values else 0
    if not values:
        return None
    if function == "avg":
        return sum(values) / len(values) if whole else _sum(values) / len(values)
    if any(isinstance(value, float) and math.isnan(value) for value in values):
        return math.nan
    chosen = min if function == "min" else max
    return chosen(values, key=lambda value: (value, math.copysign(1, value)))


def _sum(values: list[Any]) -> Any:
    if all(isinstance(value, int) for value in values):
        total = sum(values)
        return total if -(1 << 63) <= total < 1 << 63 else None
    if not all(map(math.isfinite, values)):
        return sum(values)
    total = sum(map(Fraction, values), Fraction(0))
    try:
        return float(total)
    except OverflowError:
        return math.inf if total > 0 else -math.inf
