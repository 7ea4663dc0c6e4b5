"""Silent errors of a model's output: stuck, or deciding the same whatever it is asked."""

import math

import numpy as np

from contracts.profile import BaselineProfile
from monitor.domain.edges import Ints
from monitor.domain.season import hour_of_week

STUCK_P = 1e-6


def run_p(longest: int, rows: int, share: float) -> float:
    """Chance of a run of at least ``longest`` among ``rows`` independent outputs of which the
    commonest has this ``share`` in the baseline: 1 − exp(−n (1 − s) s^L) (Erdős, Rényi)."""
    if rows == 0 or longest == 0:
        return 1.0
    kept = min(max(share, 1e-6), 1 - 1e-9)
    expected = rows * (1 - kept) * kept**longest + kept**rows
    return -math.expm1(-expected)


def usual_positive_share(profile: BaselineProfile, hour: int) -> float | None:
    """Share of rows decided positive that is usual in this hour (since 1970): the validation
    decisions' share, moved by how much more often the truth is positive at this hour of the week.
    None where the profile has no decisions."""
    known = profile.quality.confusion if profile.quality else None
    if known is None or not sum(map(sum, known)):
        return None
    share = (known[0][1] + known[1][1]) / sum(map(sum, known))
    rated = [rate for rate in profile.hours if rate.positive_rate is not None]
    positives = sum(rate.rows * (rate.positive_rate or 0.0) for rate in rated)
    here = next((r.positive_rate for r in rated if r.hour_of_week == hour_of_week(hour)), None)
    if here is None or positives == 0:
        return share
    return min(1.0, share * here * sum(rate.rows for rate in rated) / positives)


def mode_share(counts: Ints) -> float:
    """Share of the commonest of ``counts`` [classes]; 0 without rows."""
    total = int(counts.sum())
    return float(counts.max(initial=0)) / total if total else 0.0


def same_decision_p(counts: Ints, positive_share: float) -> float:
    """Chance that all rows are decided alike, as they are in ``counts`` [classes] (1 where they
    are not), if each is decided positive with this share."""
    rows = int(counts.sum())
    if rows == 0 or mode_share(counts) < 1:
        return 1.0
    kept = positive_share if counts.argmax() == 1 else 1 - positive_share
    return float(kept**rows)


def entropy(counts: Ints) -> float:
    """Entropy of counts in nats, with Miller's correction (k − 1) / 2n, at most ln k."""
    total = float(counts.sum())
    seen = counts[counts > 0]
    if total == 0:
        return 0.0
    share = seen / total
    plug_in = -float((share * np.log(share)).sum())
    return min(plug_in + (len(seen) - 1) / (2 * total), math.log(max(len(counts), 1)))
