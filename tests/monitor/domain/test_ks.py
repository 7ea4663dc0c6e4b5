"""Kolmogorov-Smirnov, exact and binned, against scipy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from monitor.domain import edges, ks

SAMPLES = arrays(
    np.float64,
    st.integers(4, 300),
    elements=st.one_of(st.floats(-100, 100, width=32), st.integers(-2, 2).map(float)),
)


@given(SAMPLES, SAMPLES)
@settings(max_examples=150, deadline=None)
def test_the_exact_test_equals_scipy(base: edges.Floats, live: edges.Floats) -> None:
    ours = ks.exact_ks(np.sort(base), live)
    theirs = stats.ks_2samp(base, live, method="asymp")
    assert ours.distance == pytest.approx(theirs.statistic, abs=1e-12)
    assert ours.p == pytest.approx(theirs.pvalue, abs=1e-9)


@pytest.mark.parametrize("shift", [0.0, 0.02, 0.1])
def test_the_binned_test_agrees_with_scipy_within_the_resolution(shift: float) -> None:
    rng = np.random.default_rng(7)
    base, live = rng.normal(size=40_000), rng.normal(shift, size=3000)
    bins = edges.cut(base)
    ours = ks.binned_ks(bins.shares(), edges.count(live, bins.edges), len(base), bins.resolution())
    theirs = stats.ks_2samp(base, live, method="asymp")
    assert ours.distance <= theirs.statistic <= ours.distance_max
    assert ours.p == pytest.approx(ks.ks_p(ours.distance, 40_000, 3000), abs=1e-2)
    assert ours.p >= theirs.pvalue - 1e-2


@pytest.mark.parametrize("effective", [50, 400, 5000])
def test_the_fast_p_value_stays_near_scipys(effective: int) -> None:
    for distance in np.linspace(0.3, 2.5, 23) / np.sqrt(effective):
        exact = stats.kstwo.sf(distance, effective)
        assert ks.fast_p(distance, effective) == pytest.approx(exact, abs=3e-4)


def test_large_samples_have_scipys_p_value_without_its_cost() -> None:
    for distance in (0.005, 0.01, 0.02):
        exact = stats.kstwo.sf(distance, 25_000)
        assert ks.ks_p(distance, 50_000, 50_000) == pytest.approx(exact, abs=2e-5)


def test_the_robust_p_value_is_kolmogorovs_limit_law() -> None:
    # Smirnov 1948, table: P(K > 1.3581) = 0.05, P(K > 1.6276) = 0.01.
    assert ks.robust_p(1.3581 / 20, 400) == pytest.approx(0.05, abs=1e-4)
    assert ks.robust_p(1.6276 / 20, 400) == pytest.approx(0.01, abs=1e-4)
    assert ks.robust_p(0.05, 400) == pytest.approx(stats.kstwobign.sf(1.0))


def test_the_lower_bound_covers_the_true_distance() -> None:
    rng = np.random.default_rng(8)
    truth = 2 * stats.norm.cdf(0.1) - 1
    base = np.sort(rng.normal(size=20_000))
    effective = ks.effective_rows(20_000, 500)
    missed = 0
    for _ in range(400):
        found = ks.exact_ks(base, rng.normal(0.2, size=500))
        missed += ks.lower_bound(found.distance, effective) > truth
    # A finite-sample bound at 5 %, and conservative; 400 runs have a 99.9 % limit of 34.
    assert missed <= 34


def test_correlated_days_are_worth_fewer_rows() -> None:
    assert ks.effective_rows(1000, 1000) == 500
    assert ks.effective_rows(1000, 1000, 2.0, 2.0) == 250
    assert ks.effective_rows(0, 10) == 0
    assert ks.lower_bound(0.5, 0) == 0


def test_an_empty_window_says_nothing() -> None:
    assert ks.exact_ks(np.array([1.0]), np.array([])).p == 1
    assert ks.binned_ks(np.array([0.5]), np.array([0, 0]), 10, 0.1).distance == 0


def test_the_gap_is_located() -> None:
    found = ks.exact_ks(np.arange(100.0), np.full(10, 49.5))
    assert found.distance == pytest.approx(0.5)
