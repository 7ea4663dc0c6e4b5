"""One column in one window against its baseline: every literal and robust number, once.

``judge_column`` computes; ``multiplicity.q_values`` corrects over a run; ``tickets`` decides.
"""

import math
from dataclasses import dataclass
from typing import Literal, TypedDict

import numpy as np

from contracts.profile import NumericProfile
from monitor.domain import categories, divergences, ks, rates
from monitor.domain.days import standardised
from monitor.domain.multiplicity import z_of
from monitor.domain.reference import CategoricalReference, NumericReference, Reference
from monitor.domain.windows import ColumnCounts

ROWS_MIN = 200
"""Below this a window is INSUFFICIENT_DATA: neither an alarm nor an all-clear."""
UNSEEN_SHARE_EXPECTED = 0.001
"""A share of never-seen categories that surprises nobody."""

State = Literal["OK", "INSUFFICIENT_DATA"]


@dataclass(frozen=True, slots=True)
class ColumnDrift:
    """What one window shows about one column.

    ``distance`` is D_K (numeric) or total variation (categorical) against the reference of the
    window's weekdays; ``distance_max`` bounds the exact D. ``p`` is the literal test's (KS or
    chi-square against the pooled baseline, rows independent); ``robust_p`` takes the days as
    clusters and ``z`` is its normal score in units of the training days' own. ``low`` is the lower
    confidence bound of the distance, to be held against ``floor``. ``psi`` and ``jensen_shannon``
    are debiased, in nats.
    """

    kind: Literal["numeric", "categorical"]
    state: State
    rows: int
    counted: int
    distance: float = 0.0
    distance_max: float = 0.0
    pooled_distance: float = 0.0
    p: float = 1.0
    robust_p: float = 1.0
    z: float = 0.0
    usual: float = 0.0
    """How high the CUSUM of ``z`` climbed over the training days themselves."""
    low: float = 0.0
    floor: float = 0.0
    location: str = ""
    """Where the distributions differ most: ``<= 3.2`` or a category."""
    psi: float = 0.0
    jensen_shannon: float = 0.0
    mean: float | None = None
    std: float | None = None
    mean_shift: float | None = None
    """(live mean − baseline mean) / baseline σ."""
    beyond_two_sigma: bool = False
    null_rate: float = 0.0
    null_p: float = 1.0
    """Chance of so many unusable values (null, missing, NaN, ±inf) if nothing changed."""
    outside_rate: float = 0.0
    """Share outside the training range, or of categories never seen in training."""
    outside_p: float = 1.0


def judge_column(
    reference: Reference, window: ColumnCounts, rows_min: int = ROWS_MIN
) -> ColumnDrift:
    """Compares a window with its baseline. Too few rows give ``INSUFFICIENT_DATA``."""
    rows = window.fact("rows")
    kind: Literal["numeric", "categorical"] = (
        "numeric" if isinstance(reference, NumericReference) else "categorical"
    )
    if rows < rows_min:
        return ColumnDrift(kind=kind, state="INSUFFICIENT_DATA", rows=rows, counted=window.counted)
    null_rate, null_p = _unusable(reference, window)
    if window.counted < rows_min:
        return ColumnDrift(
            kind=kind,
            state="OK" if null_p < 0.05 else "INSUFFICIENT_DATA",
            rows=rows,
            counted=window.counted,
            null_rate=null_rate,
            null_p=null_p,
        )
    if isinstance(reference, NumericReference):
        return _numeric(reference, window, null_rate, null_p)
    return _categorical(reference, window, null_rate, null_p)


def _unusable(reference: Reference, window: ColumnCounts) -> tuple[float, float]:
    rows, unusable = window.fact("rows"), window.fact("rows") - window.counted
    profile = reference.profile
    # The day structure is learned from values, but outages of a source cluster alike.
    effect = max(profile.design_effect, reference.days.live_effect(rows))
    return unusable / rows, rates.excess_p(unusable, rows, profile.nulls, profile.rows, effect)


def _numeric(
    reference: NumericReference, window: ColumnCounts, null_rate: float, null_p: float
) -> ColumnDrift:
    counted, profile = window.counted, reference.profile
    n = reference.bins.rows
    weekdays = window.weekday_rows
    pooled = ks.binned_ks(reference.shares, window.cells, n, reference.resolution)
    expected = reference.expected(weekdays)
    seasonal = ks.binned_ks(expected, window.cells, n, reference.resolution)
    known = reference.days
    effective = ks.effective_rows(n, counted, known.baseline_effect, known.live_effect(counted))
    sampled = ks.effective_rows(n, counted, known.baseline_effect)
    p = ks.robust_p(seasonal.distance, effective)
    outside = window.fact("below") + window.fact("above")
    shares, cells = divergences.coarse(reference.shares, window.cells)
    return ColumnDrift(
        kind="numeric",
        state="OK",
        rows=window.fact("rows"),
        counted=counted,
        distance=seasonal.distance,
        distance_max=seasonal.distance_max,
        pooled_distance=pooled.distance,
        p=pooled.p,
        robust_p=p,
        z=standardised(float(z_of(p)), profile.clean_scores),
        usual=profile.clean_scores.cusum_max,
        low=ks.lower_bound(seasonal.distance, sampled),
        floor=known.floor_on(weekdays),
        location=f"<= {reference.bins.edges[seasonal.at]:.6g}",
        psi=divergences.psi(shares, cells, n),
        jensen_shannon=divergences.jensen_shannon(shares, cells, n),
        **_moments(profile, window),
        null_rate=null_rate,
        null_p=null_p,
        outside_rate=outside / counted,
        # A new sample leaves the old range with odds of 2 in n + 1 a row.
        outside_p=rates.excess_p(outside, counted, 2, n, known.live_effect(counted)),
    )


class _Moments(TypedDict):
    mean: float
    std: float
    mean_shift: float | None
    beyond_two_sigma: bool


def _moments(profile: NumericProfile, window: ColumnCounts) -> _Moments:
    centred, squares = (float(total) for total in window.sums / window.counted)
    shift = centred / profile.std if profile.std > 0 else None
    return {
        "mean": profile.mean + centred,
        "std": math.sqrt(max(0.0, squares - centred**2)),
        "mean_shift": shift,
        "beyond_two_sigma": shift is not None and abs(shift) > 2,
    }


def _categorical(
    reference: CategoricalReference, window: ColumnCounts, null_rate: float, null_p: float
) -> ColumnDrift:
    counted, known, cells = window.counted, reference.days, window.cells
    n = int(reference.counts.sum())
    expected = reference.expected(window.weekday_rows)
    effective = ks.effective_rows(n, counted, known.baseline_effect, known.live_effect(counted))
    independent = ks.effective_rows(n, counted)
    literal = categories.two_sample(reference.counts.astype(float), cells.astype(float))
    robust = categories.two_sample(
        expected * n, cells.astype(float), deflate=independent / max(effective, 1e-9)
    )
    distance = categories.total_variation(expected, cells)
    unseen = window.fact("above")
    at = int(np.abs(cells / counted - expected).argmax())
    names = (*reference.index, "(other)")
    return ColumnDrift(
        kind="categorical",
        state="OK",
        rows=window.fact("rows"),
        counted=counted,
        distance=distance,
        distance_max=distance,
        pooled_distance=categories.total_variation(reference.shares, cells),
        p=literal.p,
        robust_p=robust.p,
        z=standardised(float(z_of(robust.p)), reference.profile.clean_scores),
        usual=reference.profile.clean_scores.cusum_max,
        low=categories.total_variation_low(distance, expected, effective, 0.05),
        floor=known.floor_on(window.weekday_rows),
        location=names[at],
        psi=divergences.psi(reference.shares, cells, n),
        jensen_shannon=divergences.jensen_shannon(reference.shares, cells, n),
        null_rate=null_rate,
        null_p=null_p,
        outside_rate=unseen / counted,
        outside_p=rates.excess_p(
            unseen, counted, round(UNSEEN_SHARE_EXPECTED * n), n, known.live_effect(counted)
        ),
    )
