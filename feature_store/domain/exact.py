"""Sums that do not depend on order, so that training and serving agree by bits.

The sum of float64 values is the real sum, rounded once to the nearest even (as ``math.fsum``); of
whole numbers it is exact, and null where it exceeds int64.
"""

import math
from collections.abc import Sequence
from fractions import Fraction


def exact_sum(values: Sequence[float]) -> float:
    """The correctly rounded sum. Any NaN, or both infinities, make NaN; the empty sum is 0.0."""
    try:
        total = math.fsum(values)
    except (OverflowError, ValueError):
        total = _sum_beyond(values)
    return total + 0.0  # a sum of −0.0 is 0.0


def _sum_beyond(values: Sequence[float]) -> float:
    special = [value for value in values if not math.isfinite(value)]
    if special:
        return math.nan if len(set(map(str, special))) > 1 else special[0]
    total = sum(map(Fraction, values), Fraction(0))
    try:
        return float(total)
    except OverflowError:
        return math.inf if total > 0 else -math.inf


def expansion(values: Sequence[float]) -> list[float]:
    """A few floats whose real sum is the real sum of ``values``; NaN and infinities stay."""
    parts: list[float] = []
    remaining = list(values)
    if not all(map(math.isfinite, remaining)):
        special = {str(value): value for value in remaining if not math.isfinite(value)}
        return list(special.values())  # they decide the sum by themselves
    try:
        while part := math.fsum(remaining):
            parts.append(part)
            remaining.append(-part)
    except OverflowError:
        return list(values)
    return parts


def whole_average(total: int, count: int) -> float:
    """The real quotient, rounded once."""
    return total / count
