"""Did one segment move, unlike the whole model? A shift of few rows hides in everybody's sum.

The training baseline is the whole model's: a segment differs from it by nature. So a segment is
held against its own days of some time ago, and against how far the whole has moved since: weather
that moves every segment is the whole's affair.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from monitor.domain import categories, ks
from monitor.domain.edges import Floats, Ints
from monitor.domain.multiplicity import q_values
from monitor.domain.reference import NumericReference, Reference
from monitor.domain.windows import ColumnCounts

DAYS, DAYS_MIN = 14, 7
"""Days that a segment is held against, and the fewest of them."""
GAP_DAYS = 7
"""So long before the window they end: a shift must not become its own reference at once."""
FLOOR_MIN, FLOOR_TIMES = 0.02, 1.5
"""The floor, as multiple of the farthest that one of the reference days was from the others."""
Q_MAX = 0.05

Pair = tuple[ColumnCounts, ColumnCounts]
"""Counts of one column in the segment and in the whole, over the same hours."""


@dataclass(frozen=True, slots=True)
class SegmentDrift:
    """``excess`` is the segment's distance from its own earlier days minus the whole's from the
    whole's; ``low`` its lower 95 % bound (the segment's rows by Dvoretzky-Kiefer-Wolfowitz, or
    McDiarmid for categories), held against ``floor``."""

    rows: int
    days: int
    distance: float
    whole: float
    excess: float
    low: float
    floor: float
    p: float


def judge_segment(
    reference: Reference, now: Pair, days: Sequence[Pair], rows_min: int
) -> SegmentDrift | None:
    """One column of one segment; None with fewer than ``rows_min`` rows, now or on all but a few of
    the ``days``."""
    past = [pair for pair in days if pair[0].counted >= rows_min]
    if now[0].counted < rows_min or len(past) < DAYS_MIN:
        return None
    numeric = isinstance(reference, NumericReference)
    segment = np.stack([pair[0].cells for pair in past])
    whole = np.stack([pair[1].cells for pair in past])
    before, everything = segment.sum(axis=0), whole.sum(axis=0)
    usual = max(
        _far(numeric, segment[i], before - segment[i])
        - _far(numeric, whole[i], everything - whole[i])
        for i in range(len(past))
    )
    distance = _far(numeric, now[0].cells, before)
    moved = _far(numeric, now[1].cells, everything)
    rows, n = now[0].counted, int(before.sum())
    effective = ks.effective_rows(n, rows, 1.0, reference.days.live_effect(rows))
    if numeric:
        low, p = ks.lower_bound(distance, effective), ks.robust_p(distance, effective)
    else:
        low = categories.total_variation_low(distance, before / n, effective, 0.05)
        deflate = ks.effective_rows(n, rows) / effective
        p = categories.two_sample(before.astype(float), now[0].cells.astype(float), deflate).p
    return SegmentDrift(
        rows, len(past), distance, moved, distance - moved, max(0.0, low - moved),
        max(FLOOR_MIN, FLOOR_TIMES * usual), p,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class SegmentFinding:
    """What a night says of one column of one segment. ``level`` 1 or more breaches; None is too
    little data."""

    segment: str
    column: str
    level: float | None
    sentence: str
    evidence: dict[str, Any]


def judge_segments(
    found: Mapping[tuple[str, str], SegmentDrift | None],
) -> list[SegmentFinding]:
    """All (segment, column) of one night: false-discovery rate q < 0.05 over all of them together,
    and the lower bound above the floor."""
    usable = {key: drift for key, drift in found.items() if drift is not None}
    q = dict(zip(usable, q_values([one.p for one in usable.values()]), strict=True))
    findings = [
        SegmentFinding(segment, column, None, f"{column} in {segment}: too little data", {})
        for (segment, column), drift in found.items()
        if drift is None
    ]
    for (segment, column), drift in usable.items():
        chance = float(q[segment, column])
        close = drift.low / drift.floor
        level = close if chance < Q_MAX else min(close, 0.99)
        text = (
            f"{column} in {segment}: distance {drift.distance:.3f} from its own {drift.days} "
            f"earlier days on {drift.rows} rows, the whole's is {drift.whole:.3f}; at least "
            f"{drift.low:.3f} more against a floor of {drift.floor:.3f} (q = {chance:.2g})"
        )
        evidence = {**asdict(drift), "q": chance}
        findings.append(SegmentFinding(segment, column, level, text, evidence))
    return findings


def _far(numeric: bool, one: Ints, other: Ints) -> float:
    """Distance of two count vectors: Kolmogorov-Smirnov's, or total variation."""
    shares: Floats = other / max(int(other.sum()), 1)
    if not numeric:
        return categories.total_variation(shares, one)
    gap = np.cumsum(one / max(int(one.sum()), 1) - shares)
    return float(np.abs(gap[:-1]).max(initial=0.0))
