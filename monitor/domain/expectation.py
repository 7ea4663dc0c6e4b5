"""What quality should be, before labels come; and what is left over when they do.

CBPE: the validation scores, recalibrated by isotonic regression, say how often each live score is
right. The estimate moves with the inputs; what labels then show beyond it is *concept drift*: the
same inputs mean something else. A change of the label's prior is told apart (BBSE).
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy import optimize, special

from contracts.profile import QualityProfile, ReliabilityBin
from monitor.domain import quality, sequential
from monitor.domain.edges import Floats, Ints
from monitor.domain.quality import Estimate
from monitor.domain.scoring import CLIP, Bools

DAYS_MIN = 5
SEPARATION_MIN = 0.1
"""True positive rate − false positive rate below which BBSE divides by almost nothing."""


@dataclass(frozen=True, slots=True)
class Recalibration:
    """A monotone map from score to probability of truth: knots [k], and what they rest on."""

    scores: Floats
    rates: Floats
    rows: Floats

    def probabilities(self, scores: Floats) -> Floats:
        """P(y = 1 | score): linear between the knots; beyond the outermost, where validation had
        no rows to speak of, it moves one to one with the score."""
        beyond = scores - np.clip(scores, self.scores[0], self.scores[-1])
        truth: Floats = np.clip(np.interp(scores, self.scores, self.rates) + beyond, 0.0, 1.0)
        return truth


@dataclass(frozen=True, slots=True)
class Expected:
    """Per-row expectations (arrays [n]) and the estimated quality."""

    right: Floats
    log_loss: Floats
    brier: Floats
    accuracy: Estimate
    mean_log_loss: float
    mean_brier: float
    positive_rate: float


@dataclass(frozen=True, slots=True)
class ConceptDrift:
    """Realised minus estimated, over labelled rows; ``days`` blocks. The interval is anytime-valid
    over days, and None while there are too few of them."""

    difference: float
    low: float | None
    high: float | None
    rows: int
    days: int


@dataclass(frozen=True, slots=True)
class PriorShift:
    """The share of positives, in validation and estimated now, without labels."""

    baseline: float
    now: Estimate


def recalibrate(bins: tuple[ReliabilityBin, ...]) -> Recalibration | None:
    """Isotonic regression of the validation bins; None when there are none."""
    if not bins:
        return None
    rows = np.array([bin_.rows for bin_ in bins], dtype=np.float64)
    rates = np.array([bin_.positives for bin_ in bins]) / rows
    fitted = optimize.isotonic_regression(rates, weights=rows).x
    return Recalibration(np.array([bin_.mean_score for bin_ in bins]), fitted, rows)


def expect(known: Recalibration, scores: Floats, decided: Bools) -> Expected | None:
    """CBPE for served ``scores`` [n] and decisions [n]; None without rows.

    The accuracy's interval holds the chance of the n outcomes and that of the validation rows.
    """
    rows = len(scores)
    if rows == 0:
        return None
    truth = known.probabilities(scores)
    right = np.where(decided, truth, 1 - truth)
    kept = np.clip(scores, CLIP, 1 - CLIP)
    accuracy = float(right.mean())
    outcomes = float((truth * (1 - truth)).sum()) / rows**2
    at = np.clip(np.searchsorted(known.scores, scores), 0, len(known.scores) - 1)
    pull = np.bincount(at, weights=np.where(decided, 1.0, -1.0), minlength=len(known.rows)) / rows
    validation = float((np.square(pull) * known.rates * (1 - known.rates) / known.rows).sum())
    half = 1.96 * math.sqrt(outcomes + validation)
    log_loss = -(special.xlogy(truth, kept) + special.xlog1py(1 - truth, -kept))
    brier = np.square(scores - truth) + truth * (1 - truth)
    return Expected(
        right=right,
        log_loss=log_loss,
        brier=brier,
        accuracy=Estimate(accuracy, max(0.0, accuracy - half), min(1.0, accuracy + half)),
        mean_log_loss=float(log_loss.mean()),
        mean_brier=float(brier.mean()),
        positive_rate=float(truth.mean()),
    )


def concept_drift(
    realised: Floats, expected: Floats, days: Ints, alpha: float = 0.05
) -> ConceptDrift | None:
    """Realised − expected losses of the same rows [n], by day; None without rows."""
    if len(realised) == 0:
        return None
    gap = realised - expected
    _, at = np.unique(days, return_inverse=True)
    by_day = np.bincount(at, weights=gap) / np.bincount(at)
    low: float | None = None
    high: float | None = None
    if len(by_day) >= DAYS_MIN:
        _, bottom, top = sequential.t_interval(by_day, alpha)
        if math.isfinite(top):
            low, high = bottom, top
    return ConceptDrift(float(gap.mean()), low, high, len(gap), len(by_day))


def prior_shift(
    profile: QualityProfile, decided: Bools, days: Ints | None = None
) -> PriorShift | str:
    """Black-box shift estimation (Lipton et al. 2018): π = (q − FPR) / (TPR − FPR).

    Assumes that only the label's share moved. Returns the reason, in words, where it cannot be
    estimated. The interval holds the chance of the live rows (by day) and of the validation rows.
    """
    if profile.confusion is None or len(decided) == 0:
        return "no confusion matrix of the validation rows, or no live rows"
    (tn, fp), (fn, tp) = profile.confusion
    negatives, positives = tn + fp, fn + tp
    if min(negatives, positives) == 0:
        return "the validation rows hold one class only"
    tpr, fpr = tp / positives, fp / negatives
    gap = tpr - fpr
    if gap < SEPARATION_MIN:
        return f"the decision hardly separates the classes (TPR − FPR = {gap:.3f})"
    share = quality.mean(decided.astype(np.float64), days)
    now = (share.value - fpr) / gap
    live = (share.high - share.value) / 1.96 / gap if math.isfinite(share.high) else math.inf
    tpr_part = now * math.sqrt(tpr * (1 - tpr) / positives) / gap
    fpr_part = (1 - now) * math.sqrt(fpr * (1 - fpr) / negatives) / gap
    half = 1.96 * math.sqrt(live**2 + tpr_part**2 + fpr_part**2)
    ends = [min(1.0, max(0.0, end)) for end in (now, now - half, now + half)]
    return PriorShift(positives / (positives + negatives), Estimate(*ends))
