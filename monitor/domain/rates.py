"""Rates: intervals, and whether a live rate exceeds a baseline's by more than chance."""

import math

import numpy as np
from scipy import special

from monitor.domain.edges import Floats, Ints

BLOCK, NEGLIGIBLE = 1_024, 1e-20


def wilson(successes: int, rows: int, alpha: float = 0.05) -> tuple[float, float]:
    """Wilson's score interval of a share (Wilson 1927); (0, 1) without rows."""
    if rows == 0:
        return 0.0, 1.0
    z = float(-special.ndtri(alpha / 2))
    share = successes / rows
    middle = share + z * z / (2 * rows)
    half = z * math.sqrt(share * (1 - share) / rows + z * z / (4 * rows * rows))
    scale = 1 + z * z / rows
    return max(0.0, (middle - half) / scale), min(1.0, (middle + half) / scale)


def excess_p(
    live: float, live_rows: float, baseline: float, baseline_rows: float, effect: float = 1.0
) -> float:
    """Chance of at least ``live`` of ``live_rows`` if nothing changed (mid-p).

    Beta-binomial prediction from the baseline with Jeffreys' prior: the baseline is a sample too.
    ``effect`` is the design effect by which both samples are worth less.
    """
    if live_rows == 0 or live == 0:
        return 1.0
    rows, seen = max(1, round(live_rows / effect)), round(live / effect)
    n, x = baseline_rows / effect, baseline / effect
    a, b = x + 0.5, max(n - x, 0.0) + 0.5
    if seen <= rows * a / (a + b):
        below = _beta_binomial(np.arange(seen + 1), rows, a, b)
        return float(1.0 - below[:-1].sum() - 0.5 * below[-1])
    tail = _tail(seen, rows, a, b)
    return float(min(1.0, tail.sum() - 0.5 * tail[0]))


def _tail(seen: int, rows: int, a: float, b: float) -> Floats:
    """Probabilities of ``seen`` successes and more, as far as they matter to their sum.

    Beyond its mean the mass only falls, but where the baseline had successes only (b < 1).
    """
    tail = np.empty(0)
    block = rows + 1 if b < 1 else BLOCK
    for first in range(seen, rows + 1, block):
        tail = np.append(
            tail, _beta_binomial(np.arange(first, min(first + block, rows + 1)), rows, a, b)
        )
        if tail[-1] <= NEGLIGIBLE * tail[0]:
            break
    return tail


def _beta_binomial(k: Ints, rows: int, a: float, b: float) -> Floats:
    """Probabilities of ``k`` successes in ``rows``; scipy.stats.betabinom without its overhead."""
    log_choose = -np.log(rows + 1) - special.betaln(rows - k + 1, k + 1)
    mass: Floats = np.exp(log_choose + special.betaln(k + a, rows - k + b) - special.betaln(a, b))
    return mass
