"""Silent errors of outputs."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from contracts.profile import BaselineProfile, HourRate
from monitor.domain import outputs
from tests.monitor.world import NOW_US, baseline_bytes

HOUR = NOW_US // 3_600_000_000
"""A Monday, 00Z."""
PROFILE = BaselineProfile.model_validate_json(baseline_bytes())
SEASONAL = PROFILE.model_copy(
    update={
        "hours": tuple(
            HourRate(hour_of_week=hour, rows=100, positive_rate=0.4 if hour < 12 else 0.2)
            for hour in range(24)
        )
    }
)


def test_the_chance_of_a_long_run_is_near_the_simulated_one() -> None:
    rng = np.random.default_rng(60)
    drawn = rng.random((2000, 500)) < 0.5
    longest = [max(map(len, "".join("01"[v] for v in row.tolist()).split("0"))) for row in drawn]
    simulated = np.mean(np.array(longest) >= 14)
    assert outputs.run_p(14, 500, 0.5) == pytest.approx(simulated, abs=0.01)


def test_what_is_usual_follows_the_hour_of_the_week() -> None:
    assert PROFILE.quality is not None
    (tn, fp), (fn, tp) = PROFILE.quality.confusion or ((0, 0), (0, 0))
    share = (fp + tp) / (tn + fp + fn + tp)
    assert outputs.usual_positive_share(PROFILE, HOUR) == pytest.approx(share)
    morning = outputs.usual_positive_share(SEASONAL, HOUR)
    evening = outputs.usual_positive_share(SEASONAL, HOUR + 20)
    assert morning == pytest.approx(share * 4 / 3)
    assert evening == pytest.approx(share * 2 / 3)
    assert outputs.usual_positive_share(PROFILE.model_copy(update={"quality": None}), HOUR) is None


@given(st.integers(1, 60), st.floats(0.05, 0.95))
def test_one_decision_for_all_is_as_likely_as_the_binomial_law_says(n: int, share: float) -> None:
    none, every = np.array([n, 0]), np.array([0, n])
    law = stats.binom(n, share)
    assert outputs.same_decision_p(none, share) == pytest.approx(law.pmf(0))
    assert outputs.same_decision_p(every, share) == pytest.approx(law.pmf(n))
    assert outputs.same_decision_p(np.array([n, 1]), share) == 1


def test_mode_and_entropy_of_decisions() -> None:
    assert outputs.mode_share(np.array([9, 1])) == 0.9
    assert outputs.entropy(np.array([9, 1])) == pytest.approx(stats.entropy([0.9, 0.1]) + 1 / 20)
    assert outputs.entropy(np.array([5000, 5000])) == pytest.approx(math.log(2))
    assert outputs.entropy(np.array([0, 0])) == 0
    assert outputs.mode_share(np.array([0, 0])) == 0
    assert outputs.same_decision_p(np.array([0, 0]), 0.5) == 1
