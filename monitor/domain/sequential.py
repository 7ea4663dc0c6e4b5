"""Anytime-valid inference: e-values and confidence sequences that may be looked at every minute.

An e-value is the wealth of somebody who bets against the null; under the null it exceeds 1/α ever,
at any look, with probability at most α (Ville). A confidence sequence holds at all times at once.
All e-values are returned as natural logarithms.

Sources: Robbins 1970 and Howard et al. 2021 (normal mixtures, beta-binomial), Lindon and Malek
2022 (Dirichlet-multinomial), Pérez-Ortiz et al. 2024 (t-test with the right Haar prior).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

from monitor.domain.edges import Floats, Ints

RISK_MAX = 50.0
RISKS = 25
PRIOR_BLOCKS = 10.0
"""Prior variance of the effect in units of the variance of one block, of the t-mixture."""
SRM_CONCENTRATION = 100.0


@dataclass(frozen=True, slots=True)
class Exposures:
    """Bad outcomes by interval of constant exposure; arrays [intervals].

    ``share`` is the candidate's part of the exposure, 0 < share < 1.
    """

    share: Floats
    candidate: Ints
    baseline: Ints

    def log_likelihood(self, risk: Floats) -> Floats:
        """Of relative risks [r], given how many bad outcomes there were: shape [r]."""
        odds = np.log(self.share) - np.log1p(-self.share) + np.log(risk)[:, None]
        mine, others = special.log_expit(odds), special.log_expit(-odds)
        likelihood: Floats = mine @ self.candidate + others @ self.baseline
        return likelihood


def risk_log_e(exposures: Exposures, margin: float = 0.0) -> float:
    """Log e-value against "relative risk ≤ 1 + margin".

    Given a bad outcome, it is the candidate's with probability p r / (p r + 1 − p). The bet is
    spread over 25 log-spaced risks from 1.05 (1 + margin) to 50. Valid whatever the base rate
    does, with no bad outcome in the baseline, and across steps of different exposure.
    """
    null = 1.0 + margin
    risks = np.geomspace(1.05 * null, max(RISK_MAX, 2 * null), RISKS)
    gains = exposures.log_likelihood(risks) - exposures.log_likelihood(np.array([null]))
    return float(special.logsumexp(gains) - math.log(RISKS))


def risk_interval(exposures: Exposures, alpha: float) -> tuple[float, float, float]:
    """(estimate, low, high): the likeliest relative risk and its confidence sequence, within
    [1/200, 200]. Stratified: a base rate that moves while the exposure changes moves neither.

    Every risk r0 whose likelihood falls short of the mixture's over 101 log-spaced risks by less
    than 1/alpha belongs to the sequence.
    """
    grid = np.geomspace(1 / 200, 200, 1201)
    likelihood = exposures.log_likelihood(grid)
    mixed = exposures.log_likelihood(np.geomspace(1 / RISK_MAX, RISK_MAX, 101))
    wealth = special.logsumexp(mixed) - math.log(101) - likelihood
    inside = grid[wealth < -math.log(alpha)]
    best = float(grid[likelihood.argmax()])
    if len(inside) == 0:
        return best, float(grid[0]), float(grid[-1])
    return best, float(inside[0]), float(inside[-1])


def mixture_variance(optimal: float, alpha: float) -> float:
    """ρ at which the normal mixture is tightest at intrinsic time ``optimal``."""
    log = math.log(1 / alpha)
    return optimal / (2 * log + math.log(1 + 2 * log))


def normal_bound(time: float, rho: float, alpha: float) -> float:
    """Two-sided boundary of |S| at intrinsic time V: sqrt((V+ρ)(ln(1+V/ρ) + 2 ln(1/α)))."""
    return math.sqrt((time + rho) * (math.log1p(time / rho) + 2 * math.log(1 / alpha)))


def normal_interval(
    differences: Floats, variances: Floats, optimal: float, alpha: float
) -> tuple[float, float, float]:
    """(estimate, low, high) of a common mean of independent ``differences`` [k] with known
    ``variances`` [k]: S = Σ d/v, V = Σ 1/v. ``optimal`` is the V at which it is tightest."""
    time = float((1 / variances).sum())
    middle = float((differences / variances).sum()) / time
    half = normal_bound(time, mixture_variance(optimal, alpha), alpha) / time
    return middle, middle - half, middle + half


def normal_log_e(
    differences: Floats, variances: Floats, margin: float, optimal: float, alpha: float
) -> float:
    """Log e-value against "mean ≤ margin": one-sided normal mixture (half-normal prior)."""
    time = float((1 / variances).sum())
    total = float(((differences - margin) / variances).sum())
    rho = mixture_variance(optimal, alpha)
    spread = time + rho
    gain = total * total / (2 * spread) - 0.5 * math.log1p(time / rho)
    return gain + math.log(2) + float(special.log_ndtr(total / math.sqrt(spread)))


def t_interval(
    differences: Floats, alpha: float, prior: float = PRIOR_BLOCKS
) -> tuple[float, float, float]:
    """(estimate, low, high) of the mean of independent normal ``differences`` [k] of *unknown*
    variance; infinite while k is too small for any conclusion at this ``alpha``."""
    k = len(differences)
    middle = float(differences.mean()) if k else math.nan
    if k < 2:
        return middle, -math.inf, math.inf
    shrink = 1 + k * prior
    factor = (shrink / alpha**2) ** (1 / k)
    if factor >= shrink:
        return middle, -math.inf, math.inf
    squared_t = (k - 1) * (factor - 1) / (1 - factor / shrink)
    half = math.sqrt(squared_t * float(differences.var(ddof=1)) / k)
    return middle, middle - half, middle + half


def t_log_e(differences: Floats, margin: float, prior: float = PRIOR_BLOCKS) -> float:
    """Log e-value against "mean ≤ margin" at unknown variance.

    Bayes factor with effect ~ N(0, prior σ²) kept to positive values and the right Haar prior of σ:
    the two-sided factor times twice the posterior probability of a positive effect.
    """
    k = len(differences)
    if k < 2:
        return 0.0
    moved = differences - margin
    squares = float(np.square(moved).sum())
    if squares == 0:
        return 0.0
    shrink = k * prior / (1 + k * prior)
    middle = float(moved.mean())
    left = max(squares - k * middle**2 * shrink, squares * 1e-15)
    factor = 0.5 * k * math.log(squares / left) - 0.5 * math.log1p(k * prior)
    scale = math.sqrt(left / k * prior / (1 + k * prior))
    positive = float(special.stdtr(k, middle * shrink / scale))
    return factor + math.log(max(2 * positive, 1e-300))


def ratio_log_e(
    observed: Sequence[npt.ArrayLike],
    intended: Sequence[npt.ArrayLike],
    concentration: float = SRM_CONCENTRATION,
) -> float:
    """Log e-value against "units fall on the arms as intended", over steps.

    ``observed[s]`` are counts [arms] of units new in step s, ``intended[s]`` the shares [arms]
    (positive, summing to 1). Dirichlet-multinomial, prior mean at the intended shares.
    """
    total = 0.0
    for counts, shares in zip(observed, intended, strict=True):
        n, p = np.asarray(counts, dtype=np.float64), np.asarray(shares, dtype=np.float64)
        prior = concentration * p
        mixed = special.gammaln(n + prior) - special.gammaln(prior)
        total += float(mixed.sum() - special.xlogy(n, p).sum())
        total += float(special.gammaln(concentration) - special.gammaln(n.sum() + concentration))
    return total
