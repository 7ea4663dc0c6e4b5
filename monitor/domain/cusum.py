"""Page's one-sided CUSUM over daily scores: finds small shifts that last.

Scores are standard normal on clean days (z of the robust p-value of a day's seasonal distance), so
the sum grows only where days are persistently further off than the training days were.
"""

import functools
import math

from scipy import optimize

SLACK = 0.75
"""Half the shift in daily score that is looked for."""
DAYS_TO_A_FALSE_TICKET = 180.0
"""The budget of a whole model. Twice the 90 days that are promised: the baseline is itself a
sample, and an unlucky one brings false tickets forward (bench/detection_quality.py)."""


def step(total: float, score: float, slack: float = SLACK) -> float:
    """The CUSUM after one more day."""
    return max(0.0, total + score - slack)


def run_length(limit: float, slack: float = SLACK) -> float:
    """Mean clean days to a false crossing of one series (Siegmund 1985, normal scores)."""
    b = 2 * slack * (limit + 1.166)
    return (math.exp(b) - b - 1) / (2 * slack * slack)


@functools.lru_cache(maxsize=256)
def limit_for(series: int, slack: float = SLACK, days: float = DAYS_TO_A_FALSE_TICKET) -> float:
    """The limit at which ``series`` clean CUSUMs together cross once in ``days`` days."""
    wanted = days * max(series, 1)
    return float(optimize.brentq(lambda limit: run_length(limit, slack) - wanted, 0.1, 60.0))
