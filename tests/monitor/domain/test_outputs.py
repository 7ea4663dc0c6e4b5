"""Silent errors of outputs."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from monitor.domain import outputs

OUTPUTS = st.lists(st.integers(0, 2), max_size=30)


@given(OUTPUTS, OUTPUTS, OUTPUTS)
def test_runs_merge_in_any_grouping(a: list[int], b: list[int], c: list[int]) -> None:
    runs = [outputs.run_of(np.array(part, dtype=float)) for part in (a, b, c)]
    whole = outputs.run_of(np.array(a + b + c, dtype=float))
    left, right = (runs[0] + runs[1]) + runs[2], runs[0] + (runs[1] + runs[2])
    for merged in (left, right):
        assert (merged.rows, merged.head, merged.tail, merged.longest) == (
            whole.rows,
            whole.head,
            whole.tail,
            whole.longest,
        )
    lengths = [len(list(group)) for _, group in itertools.groupby(a + b + c)]
    assert whole.longest == max(lengths, default=0)


def test_the_chance_of_a_long_run_is_near_the_simulated_one() -> None:
    rng = np.random.default_rng(60)
    longest = [
        outputs.run_of((rng.random(500) < 0.5).astype(np.float64)).longest for _ in range(2000)
    ]
    # A run of either value: twice the chance of a run of the mode, for small chances.
    simulated = np.mean(np.array(longest) >= 14)
    assert 2 * outputs.run_p(14, 500, 0.5) == pytest.approx(simulated, abs=0.02)


def test_a_constant_output_is_stuck_and_a_varying_one_is_not() -> None:
    counts = np.array([500, 0])
    stuck = outputs.output_health(outputs.run_of(np.full(500, 0.3)), counts, 0, 0.01)
    assert stuck.stuck
    varied = outputs.run_of(np.random.default_rng(61).random(500))
    assert not outputs.output_health(varied, np.array([260, 240]), 0, 0.01).stuck


def test_saturation_mode_and_entropy_are_shares() -> None:
    found = outputs.output_health(outputs.run_of(np.arange(10.0)), np.array([9, 1]), 4, 0.1)
    assert (found.saturated_share, found.mode_share) == (0.4, 0.9)
    assert found.entropy == pytest.approx(stats.entropy([0.9, 0.1]) + 1 / 20)
    assert outputs.entropy(np.array([5000, 5000])) == pytest.approx(np.log(2))
    assert outputs.entropy(np.array([0, 0])) == 0


def test_nothing_served_is_healthy() -> None:
    found = outputs.output_health(outputs.Run(), np.array([0, 0]), 0, 0.1)
    assert (found.rows, found.stuck, found.mode_share) == (0, False, 0.0)
