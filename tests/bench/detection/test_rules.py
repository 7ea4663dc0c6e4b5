"""The re-implemented rules of other tools, against scipy."""

import numpy as np
import pytest
from scipy import stats
from scipy.spatial import distance

from bench.detection import rules
from monitor.domain.baseline import column_profile
from monitor.domain.drift import judge_column
from monitor.domain.edges import Floats, count
from monitor.domain.reference import NumericReference, reference_of
from monitor.domain.windows import count_column

RNG = np.random.default_rng(70)
BASE = RNG.normal(size=30_000)


def _reference() -> NumericReference:
    reference = reference_of(column_profile(BASE))
    assert isinstance(reference, NumericReference)
    return reference


@pytest.mark.parametrize("shift", [0.1, 0.3, 1.0])
def test_the_normed_wasserstein_distance_is_scipys_within_five_percent(shift: float) -> None:
    live = RNG.normal(shift, 1.0, size=3000)
    reference = _reference()
    ours = rules.wasserstein_normed(reference, count_column(reference, live))
    assert ours == pytest.approx(stats.wasserstein_distance(BASE, live) / BASE.std(), rel=0.05)


def test_nannymls_distance_uses_the_references_bins() -> None:
    live = RNG.normal(0.2, 1.0, size=2000)
    histogram = rules.histogram_of(BASE)
    edges = np.histogram_bin_edges(BASE, bins="doane")
    inside = live[(live > edges[0]) & (live < edges[-1])]
    theirs = distance.jensenshannon(
        np.histogram(BASE, edges)[0] / len(BASE), np.histogram(inside, edges)[0] / len(inside), 2
    )
    ours = rules.jensen_shannon(histogram.shares, count(inside, histogram.edges))
    assert ours == pytest.approx(theirs, abs=1e-4)


def test_deequs_robust_distance_takes_the_chance_off() -> None:
    live: Floats = RNG.normal(0.5, 1.0, size=2000)
    reference = _reference()
    window = count_column(reference, live)
    found = rules.score(
        reference, rules.histogram_of(BASE), window, judge_column(reference, window), live
    )
    simple = stats.ks_2samp(BASE, live).statistic
    chance = 1.8 * np.sqrt((30_000 + 2000) / (30_000 * 2000))
    assert found.deequ == pytest.approx(simple - chance, abs=5e-3)
    assert found.ks > 0.999
