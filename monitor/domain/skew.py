"""Training-serving skew, record by record: the served value against the offline path's."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from monitor.domain import rates
from monitor.domain.edges import Floats

RELATIVE = 1e-5
"""Numbers closer than this (relative, single precision kept in mind) are equal."""


@dataclass(frozen=True, slots=True)
class Skew:
    """Rows compared, rows that differ, their share with a Wilson interval, an example's index."""

    rows: int
    mismatches: int
    share: float
    low: float
    high: float
    example: int | None


def numeric_skew(served: Floats, recomputed: Floats) -> Skew:
    """Both [n], null is NaN; null against null is equal, null against a number is not."""
    with np.errstate(invalid="ignore"):
        close = np.isclose(served, recomputed, rtol=RELATIVE, atol=1e-9, equal_nan=True)
    return _skew(~close)


def exact_skew(served: Sequence[object], recomputed: Sequence[object]) -> Skew:
    """Strings or other values that must be equal; None equals None. Both [n]."""
    pairs = zip(served, recomputed, strict=True)
    return _skew(np.array([a != b for a, b in pairs], dtype=bool))


def _skew(differs: npt.NDArray[np.bool_]) -> Skew:
    count, rows = int(differs.sum()), len(differs)
    low, high = rates.wilson(count, rows)
    example = int(differs.argmax()) if count else None
    return Skew(rows, count, count / rows if rows else 0.0, low, high, example)
