"""The two-sample Kolmogorov-Smirnov test: exact on values, binned on counts.

The binned distance D_K is the largest gap at the edges; the exact D lies in
[D_K, D_K + resolution], where the resolution is the largest baseline mass of one bin.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy import special, stats

from monitor.domain.edges import Floats, Ints

EXACT_ROWS_MAX = 1000
"""Effective rows up to which the p-value is the exact law's."""


@dataclass(frozen=True, slots=True)
class Ks:
    """Distance, the most it can be exactly, p-value, and where the gap is (index)."""

    distance: float
    distance_max: float
    p: float
    at: int


def binned_ks(expected: Floats, cells: Ints, baseline_rows: int, resolution: float) -> Ks:
    """KS of live ``cells`` [B + 1] against cumulative baseline shares ``expected`` [B].

    The p-value is that of the binned distance, so it errs on the side of no alarm.
    """
    rows = int(cells.sum())
    if rows == 0 or baseline_rows == 0 or len(expected) == 0:
        return Ks(0.0, resolution, 1.0, 0)
    gap = np.abs(np.cumsum(cells)[:-1] / rows - expected)
    at = int(gap.argmax())
    distance = float(gap[at])
    p = fast_p(distance, effective_rows(baseline_rows, rows))
    return Ks(distance, distance + resolution, p, at)


def exact_ks(baseline_sorted: Floats, live: Floats) -> Ks:
    """Exact distance to a *sorted* baseline sample; ``at`` indexes the sorted live values.

    Only the live side is sorted: the nightly run sorts each baseline once. Equal to
    ``scipy.stats.ks_2samp(method="asymp")``. NaN must have been left out.
    """
    n, m = len(baseline_sorted), len(live)
    if n == 0 or m == 0:
        return Ks(0.0, 0.0, 1.0, 0)
    values = np.sort(live)
    ranks = np.arange(m + 1) / m
    # Among equal live values the last has the largest gap above, the first the largest below:
    # the maxima find them, so ties need no grouping.
    over = ranks[1:] - np.searchsorted(baseline_sorted, values, side="right") / n
    under = np.searchsorted(baseline_sorted, values, side="left") / n - ranks[:-1]
    top, bottom = int(over.argmax()), int(under.argmax())
    above = bool(over[top] >= under[bottom])
    distance = float(over[top] if above else under[bottom])
    return Ks(distance, distance, ks_p(distance, n, m), top if above else bottom)


def ks_p(distance: float, n: float, m: float) -> float:
    """Asymptotic two-sided p-value, as scipy's: Kolmogorov's one-sample law at n m / (n + m)."""
    effective = n * m / (n + m)
    if effective > EXACT_ROWS_MAX:
        return fast_p(distance, effective)
    return float(np.clip(stats.kstwo.sf(distance, max(1, round(effective))), 0.0, 1.0))


def fast_p(distance: float, effective: float) -> float:
    """Kolmogorov's limit law with Vrbik's (2018) correction of its argument.

    Within 3e-4 of scipy's from 50 effective rows on and 2e-5 from 1,000, at 1 µs instead of the
    50 ms that scipy takes at 25,000: the p-value is what a large KS test spends its time on.
    """
    root = math.sqrt(effective)
    z = root * distance
    return float(special.kolmogorov(z + 1 / (6 * root) + (z - 1) / (4 * effective)))


def effective_rows(
    baseline: float, live: float, baseline_effect: float = 1.0, live_effect: float = 1.0
) -> float:
    """en = 1 / (deff_n / n + deff_m / m): rows of a one-sample test with the same variance."""
    if baseline <= 0 or live <= 0:
        return 0.0
    return 1.0 / (baseline_effect / baseline + live_effect / live)


def robust_p(distance: float, effective: float) -> float:
    """p-value with days as clusters: Kolmogorov's limit law at the effective rows."""
    return float(special.kolmogorov(math.sqrt(effective) * distance))


def lower_bound(distance: float, effective: float, alpha: float = 0.05) -> float:
    """D − sqrt(ln(2/α) / (2 en)), at least 0 (Dvoretzky-Kiefer-Wolfowitz with Massart's 2)."""
    if effective <= 0:
        return 0.0
    return max(0.0, distance - math.sqrt(math.log(2 / alpha) / (2 * effective)))
