"""Scores of predictions against labels, row by row: log-loss, AUC, reliability bins."""

import numpy as np
import numpy.typing as npt
from scipy import stats

from contracts.profile import ReliabilityBin

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

CLIP = 1e-7
"""Probabilities are kept this far from 0 and 1, so that one row costs at most 16.1 nats."""
BINS = 20


def log_losses(scores: Floats, truth: Bools) -> Floats:
    """Negative log likelihood of each row in nats, shape [n]."""
    kept = np.clip(scores, CLIP, 1 - CLIP)
    losses: Floats = -np.log(np.where(truth, kept, 1 - kept))
    return losses


def auc(scores: Floats, truth: Bools) -> float | None:
    """Area under the ROC curve by the Mann-Whitney statistic (ties half); None for one class."""
    positives = int(truth.sum())
    negatives = len(truth) - positives
    if positives == 0 or negatives == 0:
        return None
    ranks = stats.rankdata(scores)
    won = float(ranks[truth].sum()) - positives * (positives + 1) / 2
    return won / positives / negatives


def reliability(scores: Floats, truth: Bools, bins: int = BINS) -> tuple[ReliabilityBin, ...]:
    """Bins of about equal rows by score, lowest first; tied scores stay in one bin."""
    if len(scores) == 0:
        return ()
    cuts = np.unique(np.quantile(scores, np.arange(1, bins) / bins, method="inverted_cdf"))
    at = np.searchsorted(cuts, scores, side="left")
    rows = np.bincount(at, minlength=len(cuts) + 1)
    total = np.bincount(at, weights=scores, minlength=len(cuts) + 1)
    positives = np.bincount(at, weights=truth, minlength=len(cuts) + 1)
    return tuple(
        ReliabilityBin(mean_score=float(t / n), positives=round(float(p)), rows=int(n))
        for t, p, n in zip(total, positives, rows, strict=True)
        if n
    )
