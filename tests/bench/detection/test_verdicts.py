"""From scores to figures."""

import math

import numpy as np

from bench.detection import verdicts
from bench.detection.simulation import WARM_DAYS


def test_a_delay_counts_from_the_first_broken_day_and_names_the_column() -> None:
    alarms = np.zeros((WARM_DAYS + 14, 3), dtype=bool)
    alarms[0, 0] = True  # before the break: a false alarm, not a discovery
    alarms[WARM_DAYS + 1, 0] = True
    other = np.zeros_like(alarms)
    other[WARM_DAYS, 2] = True
    found = verdicts.delay_of([alarms, other], 0)
    assert (found.median, found.found, found.right) == (math.inf, 0.5, 0.5)
    assert verdicts.delay_of([alarms], 0).median == 2.0


def test_the_matched_limit_alarms_on_one_day_in_so_many() -> None:
    scores = [np.random.default_rng(seed).random((90, 5)) for seed in range(40)]
    limit = verdicts.matched_limit(scores)
    days = sum(int((score > limit).any(axis=1).sum()) for score in scores)
    assert abs(days - 40) <= 1


def test_rates_are_per_ninety_days_with_an_interval_over_baselines() -> None:
    rate = verdicts.rate_of([1, 1, 3, 3], [0, 0, 1, 1], 30)
    assert rate.mean == 6.0
    assert rate.low < 6.0 < rate.high
