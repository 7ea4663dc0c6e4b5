"""PSI and Jensen-Shannon, debiased."""

import numpy as np
import pytest
from scipy.spatial import distance

from monitor.domain import divergences, edges


def test_the_mean_on_identical_populations_is_zero() -> None:
    rng = np.random.default_rng(10)
    shares = np.full(10, 0.1)
    psi, js = [], []
    for _ in range(400):
        base, live = rng.multinomial(5000, shares), rng.multinomial(400, shares)
        psi.append(divergences.psi(base / 5000, live, 5000))
        js.append(divergences.jensen_shannon(base / 5000, live, 5000))
    for values in (psi, js):
        error = np.std(values) / 20
        assert abs(np.mean(values)) < 4 * error
    # The plug-in's mean would be 9 (1/5000 + 1/400) = 0.024 for PSI.
    assert abs(np.mean(psi)) < 0.004


def test_values_agree_with_a_published_example_and_scipy() -> None:
    # Siddiqi 2006: PSI = Σ (q − p) ln(q / p); by hand for shares (.5, .5) against (.6, .4).
    p, live = np.array([0.5, 0.5]), np.array([600, 400])
    plug_in = 0.1 * np.log(0.6 / 0.5) - 0.1 * np.log(0.4 / 0.5)
    bias = 1 / 1e9 + 1 / 1000
    assert divergences.psi(p, live, 1e9) == pytest.approx(plug_in - bias)
    expected = distance.jensenshannon([0.5, 0.5], [0.6, 0.4]) ** 2
    assert divergences.jensen_shannon(p, live, 1e9) == pytest.approx(expected - bias / 8)


def test_a_column_is_folded_into_ten_cells_of_equal_mass() -> None:
    bins = edges.thin(edges.cut(np.random.default_rng(11).normal(size=50_000)))
    shares, cells = divergences.coarse(bins.shares(), bins.counts)
    assert len(shares) == len(cells) == 10
    assert shares.sum() == pytest.approx(1)
    assert cells.sum() == 50_000
    assert np.allclose(cells / 50_000, shares)
    assert np.allclose(shares, 0.1, atol=0.005)


def test_a_column_of_one_point_is_one_cell() -> None:
    bins = edges.cut(np.zeros(50))
    shares, cells = divergences.coarse(bins.shares(), bins.counts)
    assert shares.tolist() == [1.0]
    assert cells.tolist() == [50]


def test_no_rows_say_nothing() -> None:
    assert divergences.psi(np.array([0.5, 0.5]), np.array([0, 0]), 100) == 0
    assert divergences.jensen_shannon(np.array([0.5, 0.5]), np.array([0, 0]), 100) == 0
