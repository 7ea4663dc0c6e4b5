"""One column in one window."""

from collections.abc import Sequence

import numpy as np
import pytest
from scipy import stats

from monitor.domain import drift, windows
from monitor.domain.baseline import column_profile
from monitor.domain.edges import Floats
from monitor.domain.reference import Reference, reference_of

DAYS, ROWS = 56, 500
RNG = np.random.default_rng(14)
DAY = np.repeat(np.arange(4, 4 + DAYS), ROWS)
VALUES = RNG.normal(10.0, 2.0, size=DAYS * ROWS)
NUMERIC = reference_of(column_profile(VALUES, DAY))
MIX = np.array(["a", "b", "c", "d"], dtype=object)
CATEGORICAL = reference_of(
    column_profile(MIX[RNG.choice(4, DAYS * ROWS, p=[0.4, 0.3, 0.2, 0.1])], DAY)
)


def _judge(reference: Reference, values: Floats | Sequence[str | None]) -> drift.ColumnDrift:
    return drift.judge_column(reference, windows.count_column(reference, values))


def test_too_few_rows_are_a_state_of_their_own() -> None:
    found = _judge(NUMERIC, RNG.normal(99, 1, size=199))
    assert found.state == "INSUFFICIENT_DATA"
    assert (found.p, found.z) == (1.0, 0.0)


def test_a_clean_window_is_quiet_and_its_literal_test_is_scipys() -> None:
    live = RNG.normal(10.0, 2.0, size=2000)
    found = _judge(NUMERIC, live)
    theirs = stats.ks_2samp(VALUES, live, method="asymp")
    assert found.pooled_distance <= theirs.statistic <= found.distance_max
    assert found.p == pytest.approx(theirs.pvalue, abs=0.05)
    assert found.low < found.floor
    assert not found.beyond_two_sigma
    assert found.mean == pytest.approx(live.mean(), abs=1e-5)
    assert found.std == pytest.approx(live.std(), abs=1e-4)


def test_a_shift_of_half_a_sigma_is_seen_with_its_size_and_place() -> None:
    found = _judge(NUMERIC, RNG.normal(11.0, 2.0, size=2000))
    assert found.distance == pytest.approx(2 * stats.norm.cdf(0.25) - 1, abs=0.04)
    assert found.mean_shift == pytest.approx(0.5, abs=0.1)
    assert found.low > found.floor
    assert found.z > 5
    assert 9.5 < float(found.location.removeprefix("<= ")) < 11.5
    assert found.psi > 0.1


def test_a_mean_beyond_two_sigma_is_flagged() -> None:
    assert _judge(NUMERIC, RNG.normal(14.5, 2.0, size=500)).beyond_two_sigma


def test_nulls_are_judged_apart_from_the_values() -> None:
    live = np.where(RNG.random(2000) < 0.05, np.nan, RNG.normal(10.0, 2.0, size=2000))
    found = _judge(NUMERIC, live)
    assert found.null_p < 1e-6
    assert found.null_rate == pytest.approx(0.05, abs=0.02)
    assert found.p > 1e-4


def test_a_column_that_went_all_null_is_judged_not_excused() -> None:
    found = _judge(NUMERIC, np.full(1000, np.nan))
    assert (found.state, found.null_rate) == ("OK", 1.0)
    assert found.null_p < 1e-6


def test_a_new_mix_and_new_categories_are_seen() -> None:
    names = list(MIX[RNG.choice(4, 2000, p=[0.2, 0.3, 0.2, 0.3])])
    found = _judge(CATEGORICAL, names)
    assert found.distance == pytest.approx(0.2, abs=0.03)
    assert found.low > found.floor
    assert found.location in {"a", "d"}
    unseen = _judge(CATEGORICAL, ["zz"] * 100 + list(MIX[RNG.choice(4, 1900)]))
    assert unseen.outside_rate == pytest.approx(0.05)
    assert unseen.outside_p < 1e-6


def test_a_clean_mix_is_quiet() -> None:
    found = _judge(CATEGORICAL, list(MIX[RNG.choice(4, 2000, p=[0.4, 0.3, 0.2, 0.1])]))
    assert found.low < found.floor
    assert found.robust_p > 0.001
    assert found.outside_p == 1


def test_a_saturday_is_compared_with_saturdays() -> None:
    weekday = (DAY + 3) % 7
    seasonal = reference_of(column_profile(VALUES + np.where(weekday == 5, 2.0, 0.0), DAY))
    saturday = RNG.normal(12.0, 2.0, size=2000)
    as_saturday = drift.judge_column(seasonal, windows.count_column(seasonal, saturday, weekday=5))
    as_monday = drift.judge_column(seasonal, windows.count_column(seasonal, saturday, weekday=0))
    assert as_saturday.low < as_saturday.floor
    assert as_saturday.z < 3
    assert as_monday.z > 6
    assert as_saturday.p < 1e-6, "the literal test does not know the season"
