"""Feedback loops: what would another policy have earned, from what this one explored?

Every decision logs the probability with which it was taken. Estimates are refused, with the
reason, when too little of the log speaks about the target policy.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from monitor.domain import rates
from monitor.domain.edges import Floats
from monitor.domain.quality import Estimate

ESS_SHARE_MIN = 0.01


@dataclass(frozen=True, slots=True)
class Overlap:
    """How much of the log speaks about the target: weights w = π(a|x) / propensity."""

    rows: int
    mean_weight: float
    """1 is expected: anything else means that the logged propensities are wrong."""
    mean_weight_z: float
    effective_rows: float
    """(Σ w)² / Σ w²."""


@dataclass(frozen=True, slots=True)
class Refused:
    """No estimate, and why."""

    reason: str
    overlap: Overlap | None


@dataclass(frozen=True, slots=True)
class Exploration:
    """Observed share of explored decisions against the configured one."""

    rows: int
    expected: float
    observed: float
    low: float
    high: float

    @property
    def agrees(self) -> bool:
        """The configured share lies in the (99 %) interval."""
        return self.low <= self.expected <= self.high


def exploration(explored: npt.NDArray[np.bool_], epsilon: float) -> Exploration:
    """Checks the share of rows marked explored [n] against ``epsilon``."""
    count, rows = int(explored.sum()), len(explored)
    low, high = rates.wilson(count, rows, alpha=0.01)
    return Exploration(rows, epsilon, count / rows if rows else 0.0, low, high)


def overlap(target: Floats, propensity: Floats) -> Overlap:
    """From the target policy's and the logged probabilities of the actions taken, both [n > 0]."""
    weight = target / propensity
    mean = float(weight.mean())
    error = float(weight.std(ddof=1)) / math.sqrt(len(weight)) if len(weight) > 1 else 0.0
    z = (mean - 1) / error if error > 0 else 0.0
    squares = float(np.square(weight).sum())
    effective = float(weight.sum()) ** 2 / squares if squares > 0 else 0.0
    return Overlap(len(weight), mean, z, effective)


def snips(target: Floats, propensity: Floats, reward: Floats) -> Estimate | Refused:
    """Self-normalised inverse propensity score (Swaminathan, Joachims 2015), delta-method 95 %."""
    found = _usable(target, propensity)
    if isinstance(found, Refused):
        return found
    weight = target / propensity
    value = float((weight * reward).sum() / weight.sum())
    error = math.sqrt(float(np.square(weight * (reward - value)).sum())) / float(weight.sum())
    return Estimate(value, value - 1.96 * error, value + 1.96 * error)


def doubly_robust(
    target: Floats, propensity: Floats, reward: Floats, model_logged: Floats, model_target: Floats
) -> Estimate | Refused:
    """Dudík et al. 2011: mean of q(x, π) + w (r − q(x, a)); 95 %. All arrays [n].

    ``model_logged`` is a reward model's value of the action taken, ``model_target`` of the target
    policy; either they or the propensities need to be right, not both.
    """
    found = _usable(target, propensity)
    if isinstance(found, Refused):
        return found
    terms = model_target + target / propensity * (reward - model_logged)
    value = float(terms.mean())
    error = float(terms.std(ddof=1)) / math.sqrt(len(terms))
    return Estimate(value, value - 1.96 * error, value + 1.96 * error)


def _usable(target: Floats, propensity: Floats) -> Overlap | Refused:
    if len(target) < 2:
        return Refused("fewer than two logged decisions", None)
    if not bool((propensity > 0).all()):
        return Refused("a logged propensity is not positive", None)
    found = overlap(target, propensity)
    share = found.effective_rows / found.rows
    if share < ESS_SHARE_MIN:
        return Refused(
            f"effective sample size is {found.effective_rows:.0f} of {found.rows} rows "
            f"({share:.2%}, at least {ESS_SHARE_MIN:.0%} is needed)",
            found,
        )
    return found
