"""Feedback loops: estimates of another policy, or a refusal."""

import numpy as np
import pytest

from monitor.domain import policy_value
from monitor.domain.policy_value import Refused
from monitor.domain.quality import Estimate

Logged = tuple[np.ndarray[tuple[int], np.dtype[np.float64]], ...]


def _logged(seed: int, rows: int = 4000, epsilon: float = 0.2) -> Logged:
    """Two actions; ε-greedy prefers 0, the target always 1; reward of 1 is .6, of 0 is .4."""
    rng = np.random.default_rng(seed)
    action = (rng.random(rows) < epsilon / 2).astype(np.float64)
    propensity = np.where(action == 1, epsilon / 2, 1 - epsilon / 2)
    reward = (rng.random(rows) < np.where(action == 1, 0.6, 0.4)).astype(np.float64)
    return action, propensity, reward


def test_the_estimates_cover_the_value_of_the_target_policy() -> None:
    covered = np.zeros(2)
    for seed in range(200):
        action, propensity, reward = _logged(seed)
        guess = np.full(len(action), 0.5)
        for i, found in enumerate(
            (
                policy_value.snips(action, propensity, reward),
                policy_value.doubly_robust(action, propensity, reward, guess, guess),
            )
        ):
            assert isinstance(found, Estimate)
            covered[i] += found.low <= 0.6 <= found.high
    # 200 runs at 95 %: three standard errors are 4.6 %.
    assert (covered / 200 >= 0.9).all()


def test_a_right_reward_model_makes_the_doubly_robust_interval_tighter() -> None:
    action, propensity, reward = _logged(1)
    model = np.where(action == 1, 0.6, 0.4)
    right = policy_value.doubly_robust(action, propensity, reward, model, np.full(4000, 0.6))
    wrong = policy_value.doubly_robust(action, propensity, reward, np.zeros(4000), np.zeros(4000))
    assert isinstance(right, Estimate)
    assert isinstance(wrong, Estimate)
    assert right.high - right.low < wrong.high - wrong.low


def test_weights_average_to_one_and_wrong_propensities_show() -> None:
    action, propensity, _ = _logged(2)
    fair = policy_value.overlap(action, propensity)
    assert abs(fair.mean_weight_z) < 4
    assert fair.effective_rows == pytest.approx(action.sum())
    assert abs(policy_value.overlap(action, propensity / 2).mean_weight_z) > 6


def test_too_small_an_overlap_is_refused_with_the_reason() -> None:
    target = np.zeros(10_000)
    target[0] = 1.0
    found = policy_value.snips(target, np.full(10_000, 0.5), np.ones(10_000))
    assert isinstance(found, Refused)
    assert "effective sample size is 1 of 10000 rows" in found.reason
    zero = policy_value.snips(np.ones(3), np.array([0.5, 0.0, 0.5]), np.ones(3))
    assert isinstance(zero, Refused)
    assert "not positive" in zero.reason
    one = np.ones(1)
    assert isinstance(policy_value.doubly_robust(one, one, one, one, one), Refused)


def test_the_exploration_share_is_checked() -> None:
    rng = np.random.default_rng(3)
    agreed = [policy_value.exploration(rng.random(5000) < 0.1, 0.1).agrees for _ in range(200)]
    assert np.mean(agreed) >= 0.96
    assert not policy_value.exploration(rng.random(5000) < 0.05, 0.1).agrees
