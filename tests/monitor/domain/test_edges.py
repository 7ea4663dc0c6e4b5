"""Bins: few, exact, and honest about what they hide."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from monitor.domain import edges

NUMBERS = st.one_of(
    st.floats(-1e6, 1e6, width=32), st.integers(-3, 3).map(float), st.just(0.1), st.just(0.0)
)
MORE = arrays(np.float64, st.integers(4, 400), elements=NUMBERS)
"""At four rows and more scipy's asymptotic p-value does not divide by zero."""
SAMPLES = arrays(np.float64, st.integers(1, 400), elements=NUMBERS)


@given(SAMPLES, st.integers(4, 64))
@settings(max_examples=80, deadline=None)
def test_edges_are_sorted_distinct_and_no_more_than_allowed(
    sample: edges.Floats, limit: int
) -> None:
    bins = edges.cut(sample, limit)
    assert len(bins.edges) <= limit
    assert (np.diff(bins.edges) > 0).all()
    assert bins.rows == len(sample)


@given(SAMPLES, st.integers(8, 64))
@settings(max_examples=80, deadline=None)
def test_recounting_the_sample_gives_the_baseline_counts(sample: edges.Floats, limit: int) -> None:
    bins = edges.cut(sample, limit)
    assert edges.count(sample, bins.edges).tolist() == bins.counts.tolist()
    thinned = edges.thin(bins, limit // 2)
    assert len(thinned.edges) <= limit // 2
    assert set(thinned.edges) <= set(bins.edges)
    assert edges.count(sample, thinned.edges).tolist() == thinned.counts.tolist()


@given(MORE, MORE, st.integers(8, 64))
@settings(max_examples=150, deadline=None)
def test_the_exact_distance_lies_within_the_resolution_of_the_binned_one(
    base: edges.Floats, live: edges.Floats, limit: int
) -> None:
    for bins in (edges.cut(base, limit), edges.thin(edges.cut(base, 2 * limit), limit)):
        live_shares = np.cumsum(edges.count(live, bins.edges))[:-1] / len(live)
        binned = float(np.abs(live_shares - bins.shares()).max())
        exact = stats.ks_2samp(edges.single(base), edges.single(live), method="asymp").statistic
        assert binned <= exact + 1e-12
        assert exact <= binned + bins.resolution() + 1e-12


def test_the_resolution_of_a_continuous_sample_is_one_bin() -> None:
    bins = edges.cut(np.random.default_rng(1).normal(size=102_400))
    assert len(bins.edges) == 1024
    assert bins.resolution() < 1.1 / 1024


def test_an_atom_is_counted_by_itself() -> None:
    rng = np.random.default_rng(2)
    bins = edges.cut(np.where(rng.random(10_000) < 0.3, 0.1, rng.normal(size=10_000)))
    atom = np.float64(np.float32(0.1))
    at = int(np.searchsorted(bins.edges, atom))
    assert bins.edges[at] == atom
    assert abs(int(bins.counts[at]) / 10_000 - 0.3) < 0.02
    moved = edges.count(np.full(5, atom - 1e-6), bins.edges)
    assert moved[at] == 0
