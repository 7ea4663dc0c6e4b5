"""Two samples of categories: G and chi-square on merged cells, total variation, unseen share.

Both sides are samples. Treating the baseline as known, as one-sample tests do, has a true level of
a quarter and more at a nominal 5 % as soon as the live window is not much smaller.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy import special

from monitor.domain import rates
from monitor.domain.edges import Floats, Ints

EXPECTED_MIN = 5.0


@dataclass(frozen=True, slots=True)
class Contingency:
    """Statistics of a 2 × k table after merging; ``p`` is Pearson's, ``g_p`` the G-test's."""

    chi2: float
    g: float
    degrees: int
    p: float
    g_p: float


def merge_rare(baseline: Floats, live: Floats) -> tuple[Floats, Floats]:
    """Cells whose expected count in the smaller sample is below 5 are merged into one.

    ``baseline`` and ``live`` are counts [k]. The rarest go first, and as many more as the merged
    cell needs to reach 5 itself. Only pooled counts are looked at, so the test stays valid.
    """
    pooled = baseline + live
    small = min(float(baseline.sum()), float(live.sum()))
    expected = pooled * small / max(float(pooled.sum()), 1.0)
    order = np.argsort(expected, kind="stable")
    ranked = expected[order]
    merged = int(np.searchsorted(ranked, EXPECTED_MIN, side="left"))
    if merged > 0:
        while merged < len(ranked) and float(ranked[:merged].sum()) < EXPECTED_MIN:
            merged += 1
        empty = float(pooled[order[:merged]].sum()) == 0.0
        kept, rest = order[merged:], order[:merged]
        if empty:
            return baseline[kept], live[kept]
        return (
            np.append(baseline[kept], baseline[rest].sum()),
            np.append(live[kept], live[rest].sum()),
        )
    return baseline, live


def two_sample(baseline: Floats, live: Floats, deflate: float = 1.0) -> Contingency:
    """Tests that two count vectors [k] come from one distribution.

    ``deflate`` is the design effect by which both samples are worth less (first-order Rao-Scott
    correction). Cells are merged by what the counts are *worth*: rain that falls for one whole day
    is a thousand wet rows and hardly more than one observation. Where no two cells are left, the
    commonest category is held against all others by the beta-binomial law, which needs no minimum.
    """
    whole, lived = np.asarray(baseline, float) / deflate, np.asarray(live, float) / deflate
    base, seen = merge_rare(whole, lived)
    n, m = float(base.sum()), float(seen.sum())
    if n == 0 or m == 0 or np.count_nonzero(whole + lived) < 2:
        return Contingency(0.0, 0.0, 0, 1.0, 1.0)
    if len(base) < 2:
        return _commonest(whole, lived)
    pooled = (base + seen) / (n + m)
    chi2 = float((np.square(base / n - seen / m) / pooled).sum() * n * m / (n + m))
    g = 2.0 * (_entropy_gain(base, pooled * n) + _entropy_gain(seen, pooled * m))
    degrees = len(base) - 1
    tail = special.chdtrc(degrees, np.maximum([chi2, g], 0.0))
    return Contingency(chi2, g, degrees, float(tail[0]), float(tail[1]))


def _commonest(baseline: Floats, live: Floats) -> Contingency:
    """The commonest category against the rest, two-sided; counts may be fractions."""
    at = int((baseline + live).argmax())
    rest = [float(counts.sum() - counts[at]) for counts in (live, baseline)]
    more = rates.excess_p(rest[0], float(live.sum()), rest[1], float(baseline.sum()))
    fewer = rates.excess_p(
        float(live[at]), float(live.sum()), float(baseline[at]), float(baseline.sum())
    )
    p = min(1.0, 2 * min(more, fewer))
    return Contingency(0.0, 0.0, 1, p, p)


def total_variation(expected: Floats, live: Ints) -> float:
    """Half the sum of absolute differences between shares ``expected`` and those of ``live``."""
    rows = int(live.sum())
    return 0.0 if rows == 0 else float(np.abs(live / rows - expected).sum()) / 2


def total_variation_low(distance: float, shares: Floats, effective: float, alpha: float) -> float:
    """Lower confidence bound of the total variation, at least 0.

    The plug-in is biased upwards by chance alone: half the sum of sqrt(2 v_k / π) with
    v_k = p_k (1 − p_k) / en is taken off, then McDiarmid's sqrt(ln(1/α) / (2 en)).
    """
    if effective <= 0:
        return 0.0
    chance = float(np.sqrt(2 * shares * (1 - shares) / (math.pi * effective)).sum()) / 2
    return max(0.0, distance - chance - math.sqrt(math.log(1 / alpha) / (2 * effective)))


def _entropy_gain(observed: Floats, expected: Floats) -> float:
    kept = observed > 0
    return float((observed[kept] * np.log(observed[kept] / expected[kept])).sum())
