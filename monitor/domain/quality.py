"""Quality of labelled predictions, each estimate with its interval.

Rows of one day share its weather, so where days are given the mean's variance is taken over days
(between-day variance on the flight data is about a hundred times the independent expectation).
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy import special, stats

from monitor.domain import rates, scoring
from monitor.domain.edges import Floats, Ints
from monitor.domain.scoring import Bools


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with a two-sided confidence interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Classification:
    """Quality of binary predictions on ``rows`` labelled rows."""

    rows: int
    positives: int
    accuracy: Estimate
    log_loss: Estimate
    brier: Estimate
    auc: Estimate | None
    """None while only one class has been seen."""


@dataclass(frozen=True, slots=True)
class Regression:
    """Quality of regression predictions, in the label's unit."""

    rows: int
    mae: Estimate
    rmse: Estimate
    bias: Estimate


def classification(
    scores: Floats,
    truth: Bools,
    decided: Bools,
    days: Ints | None = None,
    alpha: float = 0.05,
) -> Classification | None:
    """Quality of probabilities ``scores`` [n] against ``truth`` [n]; None without rows.

    ``decided`` [n] is the decision as served (its threshold belongs to the version). ``days`` [n]
    cluster the log-loss and the Brier score, and widen the accuracy's Wilson interval by the
    design effect they show.
    """
    rows = len(scores)
    if rows == 0:
        return None
    return Classification(
        rows=rows,
        positives=int(truth.sum()),
        accuracy=accuracy(truth == decided, days, alpha),
        log_loss=_size(scoring.log_losses(scores, truth), days, alpha),
        brier=_size(np.square(scores - truth), days, alpha, most=1.0),
        auc=auc(scores, truth, alpha),
    )


def accuracy(right: Bools, days: Ints | None = None, alpha: float = 0.05) -> Estimate:
    """Share of right answers [n], at least one, with Wilson's interval, widened by the design
    effect that ``days`` [n] show."""
    n = max(1, round(len(right) / design_effect(right.astype(float), days)))
    share = float(right.mean())
    low, high = rates.wilson(round(share * n), n, alpha)
    return Estimate(share, min(low, share), max(high, share))


def regression(
    predicted: Floats, labels: Floats, days: Ints | None = None, alpha: float = 0.05
) -> Regression | None:
    """Errors of ``predicted`` [n] against ``labels`` [n]; None without rows."""
    if len(labels) == 0:
        return None
    error = predicted - labels
    squares = _size(np.square(error), days, alpha)
    ends = [math.sqrt(end) for end in (squares.value, squares.low, squares.high)]
    return Regression(
        rows=len(labels),
        mae=_size(np.abs(error), days, alpha),
        rmse=Estimate(*ends),
        bias=mean(error, days, alpha),
    )


def mean(values: Floats, days: Ints | None = None, alpha: float = 0.05) -> Estimate:
    """Mean of ``values`` [n > 0] with Student's interval, over days where there are at least two
    (ratio estimator, days as clusters), else over rows; infinite for a single row."""
    rows = len(values)
    middle = float(values.mean())
    if days is not None and len(np.unique(days)) >= 2:
        _, at = np.unique(days, return_inverse=True)
        off = np.bincount(at, weights=values - middle)
        k = len(off)
        error = math.sqrt(float(np.square(off).sum()) * k / (k - 1)) / rows
    elif rows > 1:
        k = rows
        error = float(values.std(ddof=1)) / math.sqrt(rows)
    else:
        return Estimate(middle, -math.inf, math.inf)
    half = float(stats.t.isf(alpha / 2, k - 1)) * error
    return Estimate(middle, middle - half, middle + half)


def _size(values: Floats, days: Ints | None, alpha: float, *, most: float = math.inf) -> Estimate:
    """The mean of what is never below zero or above ``most``; nor is its interval."""
    found = mean(values, days, alpha)
    return Estimate(found.value, max(0.0, found.low), min(most, found.high))


def design_effect(values: Floats, days: Ints | None) -> float:
    """Variance of the mean over days against independent rows, at least 1 (1 without days)."""
    if days is None or len(np.unique(days)) < 2 or len(values) < 2:
        return 1.0
    independent = float(values.var(ddof=1)) / len(values)
    _, at = np.unique(days, return_inverse=True)
    off = np.bincount(at, weights=values - values.mean())
    clustered = float(np.square(off).sum()) * len(off) / (len(off) - 1) / len(values) ** 2
    return max(1.0, clustered / independent) if independent > 0 else 1.0


def auc(scores: Floats, truth: Bools, alpha: float = 0.05) -> Estimate | None:
    """AUC with DeLong's (1988) variance on the logit scale; None with one class only."""
    value = scoring.auc(scores, truth)
    positives, negatives = int(truth.sum()), int((~truth).sum())
    if value is None:
        return None
    if min(positives, negatives) < 2:
        return Estimate(value, 0.0, 1.0)
    ranks = stats.rankdata(scores)
    won = (ranks[truth] - stats.rankdata(scores[truth])) / negatives
    lost = 1 - (ranks[~truth] - stats.rankdata(scores[~truth])) / positives
    variance = won.var(ddof=1) / positives + lost.var(ddof=1) / negatives
    if not 0 < value < 1:
        # All pairs in order: the rule of three on the scarcer class.
        reach = min(1.0, -math.log(alpha / 2) / min(positives, negatives))
        return Estimate(value, max(0.0, value - reach), min(1.0, value + reach))
    half = -float(special.ndtri(alpha / 2)) * math.sqrt(variance) / (value * (1 - value))
    middle = math.log(value / (1 - value))
    return Estimate(value, float(special.expit(middle - half)), float(special.expit(middle + half)))
