"""Anytime-valid inference: published vectors, scipy, and simulated false-alarm rates."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from monitor.domain import sequential
from monitor.domain.sequential import Exposures


def _errors(candidate: int, total: int, share: float = 0.05) -> Exposures:
    return Exposures(np.array([share]), np.array([candidate]), np.array([total - candidate]))


def test_the_error_e_process_gives_the_published_vectors() -> None:
    assert sequential.risk_log_e(_errors(8, 40)) == pytest.approx(4.2000738, abs=1e-7)
    assert sequential.risk_log_e(_errors(2, 40)) == pytest.approx(-1.5975372, abs=1e-7)


def test_the_error_e_process_has_mean_one_under_the_null_exactly() -> None:
    # E[exp(log E)] over the binomial law of the candidate's errors is 1 at r = 1 (δ = 0).
    for total in (1, 7, 40):
        mean = sum(
            math.exp(sequential.risk_log_e(_errors(k, total))) * stats.binom.pmf(k, total, 0.05)
            for k in range(total + 1)
        )
        assert mean == pytest.approx(1.0, abs=1e-9)


@given(
    st.lists(st.tuples(st.floats(0.01, 0.9), st.integers(0, 20), st.integers(0, 20)), max_size=6)
)
def test_intervals_of_equal_exposure_may_be_merged_and_order_is_nothing(
    parts: list[tuple[float, int, int]],
) -> None:
    share, kc, kb = (np.array(column) for column in zip(*[(0.5, 0, 0), *parts], strict=True))
    forward = sequential.risk_log_e(Exposures(share, kc, kb), 0.1)
    assert forward == pytest.approx(
        sequential.risk_log_e(Exposures(share[::-1], kc[::-1], kb[::-1]), 0.1)
    )
    twice = Exposures(np.repeat(share, 2), np.repeat(kc, 2), np.repeat(kb, 2))
    assert sequential.risk_log_e(twice, 0.1) == pytest.approx(
        sequential.risk_log_e(Exposures(share, 2 * kc, 2 * kb), 0.1)
    )


def test_looking_after_every_error_raises_no_more_false_alarms_than_alpha() -> None:
    rng = np.random.default_rng(20)
    runs, errors = 1000, 120
    mine = rng.random((runs, errors)) < 0.05
    candidate = np.cumsum(mine, axis=1)
    table = np.array(
        [[sequential.risk_log_e(_errors(k, n)) for k in range(61)] for n in range(1, errors + 1)]
    )
    ever = (table[np.arange(errors), np.minimum(candidate, 60)] > math.log(20)).any(axis=1)
    assert ever.mean() <= 0.05


def test_the_risk_interval_holds_the_truth_and_its_estimate_is_stratified() -> None:
    # Exposure ramps from 5 % to 50 % while the base rate trebles; the true risk is 2.
    share = np.array([0.05, 0.5])
    expected = share * 2 / (share * 2 + 1 - share)
    totals = np.array([2000, 6000])
    candidate = np.round(totals * expected).astype(np.int64)
    best, low, high = sequential.risk_interval(
        Exposures(share, candidate, totals - candidate), 0.05
    )
    assert best == pytest.approx(2.0, rel=0.02)
    assert low < 2.0 < high
    assert high / low < 1.4


def test_no_errors_tell_nothing_about_the_risk() -> None:
    assert sequential.risk_log_e(_errors(0, 0)) == pytest.approx(0.0)
    _, low, high = sequential.risk_interval(_errors(0, 0), 0.05)
    assert (low, high) == pytest.approx((1 / 200, 200))


def test_the_normal_boundary_is_robbins_mixture() -> None:
    # Integral of exp(λS − λ²V/2) over λ ~ N(0, 1/ρ) equals 1/α at the boundary.
    time, rho, alpha = 12.0, 3.0, 0.05
    total = sequential.normal_bound(time, rho, alpha)

    def bet(size: float) -> float:
        prior = stats.norm.pdf(size, scale=1 / math.sqrt(rho))
        return float(prior * math.exp(size * total - size * size * time / 2))

    wealth, _ = integrate.quad(bet, -10, 10)
    assert wealth == pytest.approx(1 / alpha, rel=1e-6)


def test_the_one_sided_normal_e_value_is_the_half_normal_mixture() -> None:
    differences, variances = np.array([0.3, 0.1]), np.array([0.02, 0.05])
    rho = sequential.mixture_variance(40.0, 0.05)
    total, time = float((differences / variances).sum()), float((1 / variances).sum())

    def bet(size: float) -> float:
        prior = 2 * stats.norm.pdf(size, scale=1 / math.sqrt(rho))
        return float(prior * math.exp(size * total - size * size * time / 2))

    wealth, _ = integrate.quad(bet, 0, 10)
    log_e = sequential.normal_log_e(differences, variances, 0.0, 40.0, 0.05)
    assert log_e == pytest.approx(math.log(wealth), rel=1e-6)


def test_the_normal_sequence_is_tightest_where_it_was_told_to_be() -> None:
    def width(optimal: float) -> float:
        _, low, high = sequential.normal_interval(np.zeros(1), np.array([0.01]), optimal, 0.05)
        return high - low

    assert width(100.0) < min(width(10.0), width(1000.0))


def test_the_t_interval_is_where_the_two_sided_bayes_factor_reaches_one_over_alpha() -> None:
    rng = np.random.default_rng(21)
    differences = rng.normal(0.4, 1.0, size=12)
    middle, low, high = sequential.t_interval(differences, 0.05)
    assert middle == pytest.approx(differences.mean())
    for end in (low, high):
        moved = differences - end
        n, g = 12, sequential.PRIOR_BLOCKS
        squares, shrink = np.square(moved).sum(), 12 * g / (1 + 12 * g)
        left = squares - n * moved.mean() ** 2 * shrink
        factor = 0.5 * n * math.log(squares / left) - 0.5 * math.log(1 + n * g)
        assert factor == pytest.approx(math.log(20), rel=1e-9)


def test_the_t_e_value_equals_its_integral() -> None:
    # Integrating the likelihood over δ > 0 with 2 N(0, gσ²) and over σ with 1/σ, by quadrature.
    differences, g = np.array([0.9, 0.2, 1.1, 0.5]), sequential.PRIOR_BLOCKS

    def density(effect: float, sigma: float) -> float:
        likelihood = stats.norm.pdf(differences, effect, sigma).prod()
        return float(likelihood * 2 * stats.norm.pdf(effect, 0, math.sqrt(g) * sigma) / sigma)

    top, _ = integrate.dblquad(density, 0.02, 30, 0, 12, epsabs=1e-9)
    bottom, _ = integrate.quad(
        lambda sigma: float(stats.norm.pdf(differences, 0, sigma).prod() / sigma), 0.02, 30
    )
    log_e = sequential.t_log_e(differences, 0.0)
    assert log_e == pytest.approx(math.log(top / bottom), abs=1e-3)


def test_the_t_mixture_keeps_its_level_at_every_look() -> None:
    rng = np.random.default_rng(22)
    runs, false_e, false_ci = 400, 0, 0
    for _ in range(runs):
        blocks = rng.normal(size=40)
        looks = [blocks[:k] for k in range(2, 41)]
        false_e += any(sequential.t_log_e(look, 0.0) > math.log(20) for look in looks)
        ends = [sequential.t_interval(look, 0.05) for look in looks]
        false_ci += any(low > 0 or high < 0 for _, low, high in ends)
    # 400 runs at 5 %: the 99.9 % limit is 34.
    assert max(false_e, false_ci) <= 34


def test_two_blocks_or_fewer_conclude_nothing_at_one_percent() -> None:
    assert sequential.t_interval(np.array([1.0, 1.01]), 0.01)[1] == -math.inf
    assert sequential.t_interval(np.array([]), 0.05)[1:] == (-math.inf, math.inf)
    assert sequential.t_log_e(np.array([1.0]), 0.0) == 0.0
    assert sequential.t_log_e(np.zeros(5), 0.0) == 0.0


def test_the_ratio_e_value_is_scipys_dirichlet_multinomial_against_the_multinomial() -> None:
    counts, shares = [60, 30, 25], [0.5, 0.3, 0.2]
    prior = sequential.SRM_CONCENTRATION * np.array(shares)
    expected = stats.dirichlet_multinomial.logpmf(counts, prior, 115)
    expected -= stats.multinomial.logpmf(counts, 115, shares)
    assert sequential.ratio_log_e([counts], [shares]) == pytest.approx(expected)
    both = sequential.ratio_log_e([counts, counts], [shares, shares])
    assert both == pytest.approx(2 * expected)


def test_a_mismatch_is_found_and_a_fair_split_is_not() -> None:
    assert sequential.ratio_log_e([[9500, 500]], [[0.95, 0.05]]) < 0
    assert sequential.ratio_log_e([[9650, 350]], [[0.95, 0.05]]) > math.log(1000)
