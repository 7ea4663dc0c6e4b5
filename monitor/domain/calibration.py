"""Do probabilities mean what they say? An alarm of two sums, and what explains it."""

import math
from dataclasses import dataclass

import numpy as np
from scipy import special, stats

from contracts.profile import ReliabilityBin
from monitor.domain import scoring
from monitor.domain.edges import Floats, Ints
from monitor.domain.scoring import Bools

DAYS_MIN = 5
"""Fewer days say nothing of a model: one storm makes a day's flights late together."""


@dataclass(frozen=True, slots=True)
class Spiegelhalter:
    """Running sums of Spiegelhalter's (1986) test; ``a + b`` merges."""

    rows: int = 0
    excess: float = 0.0
    """Σ (y − p)(1 − 2p)."""
    variance: float = 0.0
    """Σ (1 − 2p)² p (1 − p)."""

    def __add__(self, other: "Spiegelhalter") -> "Spiegelhalter":
        return Spiegelhalter(
            self.rows + other.rows, self.excess + other.excess, self.variance + other.variance
        )

    @property
    def z(self) -> float:
        """Standard normal if the probabilities are calibrated (0 without information)."""
        return self.excess / math.sqrt(self.variance) if self.variance > 0 else 0.0

    @property
    def p(self) -> float:
        """Two-sided p-value, rows independent."""
        return float(2 * special.ndtr(-abs(self.z)))


@dataclass(frozen=True, slots=True)
class CalibrationError:
    """Distance of a reliability diagram from the diagonal, in probability.

    ``rmsce`` is debiased (0 is expected of a perfect model); ``ece`` is the plug-in that others
    report, shown beside it because it reads .06 on a perfect model at 500 rows.
    """

    rows: int
    rmsce: float
    ece: float


def spiegelhalter(scores: Floats, truth: Bools) -> Spiegelhalter:
    """The sums of rows with probabilities ``scores`` [n] and outcomes ``truth`` [n]."""
    lever = 1 - 2 * scores
    return Spiegelhalter(
        len(scores),
        float(((truth - scores) * lever).sum()),
        float((np.square(lever) * scores * (1 - scores)).sum()),
    )


def calibration_error(bins: tuple[ReliabilityBin, ...]) -> CalibrationError:
    """From reliability bins; each bin's squared gap loses its own sampling variance
    ȳ (1 − ȳ) / (n − 1) (Bröcker 2012; Kumar et al. 2019)."""
    rows = sum(bin_.rows for bin_ in bins)
    squares, absolute = 0.0, 0.0
    for bin_ in bins:
        rate = bin_.positives / bin_.rows
        gap = rate - bin_.mean_score
        chance = rate * (1 - rate) / (bin_.rows - 1) if bin_.rows > 1 else gap * gap
        squares += bin_.rows * (gap * gap - chance)
        absolute += bin_.rows * abs(gap)
    if rows == 0:
        return CalibrationError(0, 0.0, 0.0)
    return CalibrationError(rows, math.sqrt(max(0.0, squares / rows)), absolute / rows)


def calibration(scores: Floats, truth: Bools) -> tuple[CalibrationError, Spiegelhalter]:
    """Both at once, for rows at hand."""
    return calibration_error(scoring.reliability(scores, truth)), spiegelhalter(scores, truth)


def p_by_day(scores: Floats, truth: Bools, days: Ints) -> float | None:
    """p-value of calibration with days as clusters; None below ``DAYS_MIN`` days.

    Student's t over the daily sums of y − p (probabilities too high or too low) and of
    Spiegelhalter's
    (y − p)(1 − 2p) (too sure or too unsure), the smaller of the two times two. Arrays [n].
    """
    _, at = np.unique(days, return_inverse=True)
    k = int(at.max(initial=-1)) + 1
    if k < DAYS_MIN:
        return None
    gap = truth - scores
    smallest = 1.0
    for values in (gap, gap * (1 - 2 * scores)):
        sums = np.bincount(at, weights=values)
        spread = float(sums.std(ddof=1))
        if spread > 0:
            t = abs(float(sums.mean())) * math.sqrt(k) / spread
            smallest = min(smallest, 2 * float(stats.t.sf(t, k - 1)))
    return min(1.0, 2 * smallest)
