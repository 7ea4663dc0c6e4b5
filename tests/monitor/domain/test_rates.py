"""Rates against scipy."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from monitor.domain import rates


@given(st.integers(1, 5000), st.data())
def test_wilsons_interval_equals_scipys(rows: int, data: st.DataObject) -> None:
    successes = data.draw(st.integers(0, rows))
    theirs = stats.binomtest(successes, rows).proportion_ci(0.95, method="wilson")
    assert rates.wilson(successes, rows) == pytest.approx((theirs.low, theirs.high), abs=1e-9)


def test_no_rows_give_the_whole_range() -> None:
    assert rates.wilson(0, 0) == (0.0, 1.0)


@given(st.integers(1, 5_000), st.integers(0, 1_000), st.data())
def test_the_excess_is_a_beta_binomial_mid_p(rows: int, baseline: int, data: st.DataObject) -> None:
    live = data.draw(st.integers(1, rows))
    law = stats.betabinom(rows, baseline + 0.5, 1000 - baseline + 0.5)
    expected = law.pmf(range(live, rows + 1)).sum() - law.pmf(live) / 2
    assert rates.excess_p(live, rows, baseline, 1000) == pytest.approx(expected, abs=1e-9)


def test_no_nulls_are_no_excess_and_many_are() -> None:
    assert rates.excess_p(0, 1000, 0, 10_000) == 1
    assert rates.excess_p(50, 1000, 0, 10_000) < 1e-12
    assert rates.excess_p(100, 1000, 1000, 10_000) > 0.3


def test_a_design_effect_makes_it_milder() -> None:
    assert rates.excess_p(30, 1000, 100, 10_000, 5.0) > rates.excess_p(30, 1000, 100, 10_000)
