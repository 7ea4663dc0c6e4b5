"""The baseline profile of a version."""

import numpy as np
import pytest
from scipy import stats

from contracts.profile import BaselineProfile, CategoricalProfile, NumericProfile
from monitor.domain.baseline import Validation, build_profile, category_keys, column_profile
from monitor.domain.drift import judge_column
from monitor.domain.edges import Floats, Ints
from monitor.domain.reference import reference_of
from monitor.domain.windows import count_column

DAY_US = 86_400_000_000
RNG = np.random.default_rng(6)
N = 6000


def _profile() -> BaselineProfile:
    return build_profile(
        "delay",
        "classification",
        {
            "distance": RNG.normal(size=N),
            "month": RNG.integers(1, 13, N),
            "carrier": np.array(["UA", "AA", None], dtype=object)[RNG.integers(0, 3, N)],
        },
        event_us=RNG.integers(0, 28, N) * DAY_US,
        labels=RNG.random(N) < 0.2,
        validation=Validation(np.array([0.9, 0.8, 0.3, 0.1]), np.array([1.0, 0.0, 1.0, 0.0])),
    )


def test_a_profile_survives_its_json() -> None:
    profile = _profile()
    assert BaselineProfile.model_validate_json(profile.model_dump_json()) == profile


def test_few_distinct_numbers_become_categories_named_in_shortest_form() -> None:
    month = _profile().columns["month"]
    assert isinstance(month, CategoricalProfile)
    assert set(month.categories) == {str(number) for number in range(1, 13)}
    assert sum(month.categories.values()) == N


def test_a_number_and_its_single_precision_copy_are_one_category() -> None:
    doubles = np.array([0.1, 3.0, np.nan, np.inf])
    assert category_keys(doubles).tolist() == ["0.1", "3", None, None]
    assert category_keys(doubles.astype(np.float32)).tolist() == ["0.1", "3", None, None]
    assert category_keys([0.1, "x", None, True]).tolist() == ["0.1", "x", None, "1"]


def test_nulls_and_infinities_are_left_out_of_the_moments() -> None:
    values = np.concatenate([np.arange(100.0), [np.nan, np.inf, -np.inf]])
    column = column_profile(values)
    assert isinstance(column, NumericProfile)
    assert (column.rows, column.nulls, sum(column.counts)) == (103, 3, 100)
    assert (column.mean, column.minimum, column.maximum) == (49.5, 0.0, 99.0)


def test_an_empty_or_all_null_column_has_a_profile() -> None:
    for values in (np.full(5, np.nan), np.array([None, None], dtype=object), np.array([])):
        column = column_profile(values)
        assert isinstance(column, CategoricalProfile)
        assert column.nulls == column.rows == len(values)


def test_the_rest_beyond_a_thousand_categories_is_counted_as_other() -> None:
    names = np.array([f"c{i}" for i in range(1500)] + ["c0"] * 9, dtype=object)
    column = column_profile(names)
    assert isinstance(column, CategoricalProfile)
    assert len(column.categories) == 1000
    assert column.categories["c0"] == 10
    assert column.other == 500


def test_validation_quality_counts_every_cell() -> None:
    quality = _profile().quality
    assert quality is not None
    assert quality.confusion == ((1, 1), (1, 1))
    assert quality.accuracy == 0.5
    # U statistic by scipy: 3 of the 4 (positive, negative) pairs are in order.
    u = stats.mannwhitneyu([0.9, 0.3], [0.8, 0.1]).statistic
    assert quality.auc == u / 4 == 0.75
    assert quality.log_loss == pytest.approx(-np.log([0.9, 0.2, 0.3, 0.9]).mean())


def test_hours_of_the_week_carry_their_rates() -> None:
    hours = _profile().hours
    assert [hour.hour_of_week for hour in hours] == [0, 24, 48, 72, 96, 120, 144]
    assert sum(hour.rows for hour in hours) == N
    assert all(0.1 < (hour.positive_rate or 0) < 0.3 for hour in hours)


def test_regression_is_profiled_by_its_errors() -> None:
    profile = build_profile(
        "eta",
        "regression",
        {"x": RNG.normal(size=50)},
        validation=Validation(np.array([1.0, 2.0, 5.0]), np.array([1.0, 4.0, 1.0])),
    )
    assert profile.quality is not None
    assert profile.quality.mae == 2.0
    assert profile.quality.rmse == pytest.approx(np.sqrt(20 / 3))
    assert profile.confidence is None
    assert isinstance(profile.prediction, NumericProfile)


def test_columns_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="different lengths"):
        build_profile("m", "raw", {"a": [1.0], "b": [1.0, 2.0]})


def test_a_score_that_moves_with_the_weekday_has_its_season_in_the_profile() -> None:
    day_us = 86_400_000_000
    days = np.arange(84)
    event_us = np.repeat(days, 200) * day_us
    weekend = np.isin((np.repeat(days, 200) + 3) % 7, (5, 6))
    random = np.random.default_rng(4)
    scores = np.clip(random.normal(0.3, 0.05, len(event_us)) - 0.15 * weekend, 0, 1)
    held = random.choice(scores, 2_000)
    profile = build_profile(
        "m",
        "classification",
        {"x": random.normal(size=len(event_us))},
        event_us=event_us,
        predictions=scores,
        validation=Validation(held, (random.random(2_000) < held).astype(float)),
    )
    assert isinstance(profile.prediction, NumericProfile)
    assert profile.prediction.rows == 2_000
    assert len(profile.prediction.weekday_offsets) == 7
    reference = reference_of(profile.prediction)
    sunday = count_column(reference, scores[weekend], weekday=6)
    judged = judge_column(reference, sunday)
    assert judged.pooled_distance > 0.5
    assert judged.distance < 0.1


def test_validation_days_that_hold_some_weekdays_twice_are_no_drift_of_the_scores() -> None:
    rng = np.random.default_rng(60)
    trained_day = np.repeat(np.arange(4, 4 + 63), 200)
    season = np.array([0.0, -0.1, 0.1, -0.1, -0.15, 0.15, 0.1])

    def scores(day: Ints) -> Floats:
        drawn: Floats = 0.4 + season[(day + 3) % 7] + rng.normal(0, 0.1, len(day))
        return drawn.clip(0, 1)

    held = np.repeat([4, 12, 20, 28, 36, 44, 52, 60, 9, 13], 200)  # three Wednesdays, two Fridays
    validation = Validation(scores(held), np.ones(len(held)), event_us=held * DAY_US)
    profile = build_profile(
        "m", "classification", {"x": rng.normal(size=len(trained_day))},
        event_us=trained_day * DAY_US, predictions=scores(trained_day), validation=validation,
    )  # fmt: skip
    assert profile.prediction is not None
    reference = reference_of(profile.prediction)
    for day in range(100, 107):
        live = scores(np.full(1000, day))
        found = judge_column(reference, count_column(reference, live, weekday=(day + 3) % 7))
        assert found.distance < found.floor + 0.06, day
