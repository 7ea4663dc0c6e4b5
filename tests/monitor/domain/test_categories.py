"""Two-sample tests of categories: right level for every k and size ratio."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from monitor.domain import categories

COUNTS = st.lists(st.tuples(st.integers(0, 200), st.integers(0, 200)), min_size=2, max_size=12)


@given(COUNTS)
def test_unmerged_tables_agree_with_scipys_contingency_tests(
    pairs: list[tuple[int, int]],
) -> None:
    table = np.array([(a + 50, b + 50) for a, b in pairs], dtype=float).T
    ours = categories.two_sample(table[0], table[1])
    pearson = stats.chi2_contingency(table, correction=False)
    g = stats.chi2_contingency(table, correction=False, lambda_="log-likelihood")
    assert ours.chi2 == pytest.approx(pearson.statistic, abs=1e-9)
    assert ours.p == pytest.approx(pearson.pvalue, abs=1e-9)
    assert ours.g == pytest.approx(g.statistic, abs=1e-9)
    # Of our G: near 0, where shares are equal, 1e-13 of rounding in it moves its tail by 3e-7.
    assert ours.g_p == pytest.approx(stats.chi2.sf(ours.g, g.dof), abs=1e-9)


@given(COUNTS)
def test_merging_keeps_every_row_and_leaves_no_rare_cell(pairs: list[tuple[int, int]]) -> None:
    base, live = np.array(pairs, dtype=float).T
    merged_base, merged_live = categories.merge_rare(base, live)
    assert merged_base.sum() == base.sum()
    assert merged_live.sum() == live.sum()
    small = min(base.sum(), live.sum())
    expected = (merged_base + merged_live) * small / max(base.sum() + live.sum(), 1)
    assert len(expected) <= 1 or expected.min() >= categories.EXPECTED_MIN - 1e-9


@pytest.mark.parametrize("k", [2, 5, 20, 100])
@pytest.mark.parametrize("ratio", [1, 5, 50])
def test_the_level_is_five_percent_for_every_k_and_size_ratio(k: int, ratio: int) -> None:
    rng = np.random.default_rng(k * 100 + ratio)
    shares = 1.0 / np.arange(1, k + 1)
    shares /= shares.sum()
    runs = 2000
    live = rng.multinomial(2000, shares, size=runs)
    base = rng.multinomial(2000 * ratio, shares, size=runs)
    alarms = sum(
        categories.two_sample(b.astype(float), m.astype(float)).p < 0.05
        for b, m in zip(base, live, strict=True)
    )
    assert 0.035 <= alarms / runs <= 0.065


def test_a_day_of_rain_is_hardly_more_than_one_observation() -> None:
    # 1,000 rows of a day that share a station's rain, worth 7; training had rain in 2 % of rows.
    base = np.array([54_000.0, 600.0, 300.0, 100.0])
    live = np.array([640.0, 200.0, 100.0, 60.0])
    found = categories.two_sample(base, live, deflate=140.0)
    wet = stats.binom.sf(2, 7, 0.02)
    assert found.p > wet / 5
    assert categories.two_sample(base, live).p < 1e-100


@given(st.lists(st.floats(0, 4), min_size=2, max_size=6), st.floats(1, 50))
def test_worthless_counts_still_give_a_probability(live: list[float], deflate: float) -> None:
    base = np.array([4_000.0, *([20.0] * (len(live) - 1))])
    found = categories.two_sample(base, np.array(live), deflate)
    assert 0 <= found.p <= 1


def test_few_effective_rows_rarely_differ_by_chance() -> None:
    rng = np.random.default_rng(3)
    alarms = 0
    for _ in range(2000):
        live = np.array(rng.multinomial(8, [0.95, 0.05]), float) * 100
        base = np.array(rng.multinomial(400, [0.95, 0.05]), float) * 100
        alarms += categories.two_sample(base, live, 100.0).p < 0.05
    assert alarms / 2000 <= 0.065


def test_a_design_effect_divides_the_statistic() -> None:
    base, live = np.array([500.0, 500.0]), np.array([60.0, 40.0])
    assert categories.two_sample(base, live, 2.0).chi2 == pytest.approx(
        categories.two_sample(base, live).chi2 / 2
    )


def test_total_variation_is_half_the_sum_of_differences() -> None:
    assert categories.total_variation(np.array([0.5, 0.5]), np.array([7, 3])) == pytest.approx(0.2)
    assert categories.total_variation(np.array([1.0]), np.array([0])) == 0


def test_the_lower_bound_of_the_total_variation_rarely_exceeds_the_truth() -> None:
    rng = np.random.default_rng(9)
    shares = np.full(20, 0.05)
    base = np.full(20, 1000)
    low = [
        categories.total_variation_low(
            categories.total_variation(base / base.sum(), rng.multinomial(1000, shares)),
            shares,
            1000.0,
            0.05,
        )
        for _ in range(500)
    ]
    assert np.mean(np.array(low) > 0) <= 0.05


def test_one_category_or_no_rows_cannot_be_tested() -> None:
    assert categories.two_sample(np.array([5.0]), np.array([7.0])).p == 1
    assert categories.two_sample(np.array([5.0, 5.0]), np.array([0.0, 0.0])).p == 1
