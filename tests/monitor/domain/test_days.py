"""What clean days teach."""

import numpy as np

from contracts.profile import CleanScores
from monitor.domain import days, edges

ROWS = 2000


def _counts(means: edges.Floats, seed: int = 3) -> edges.Ints:
    rng = np.random.default_rng(seed)
    samples = rng.normal(size=(len(means), ROWS)) + means[:, None]
    at = edges.cut(samples.ravel(), 64).edges
    return np.stack([edges.count(day, at) for day in samples])


def test_1970_01_01_was_a_thursday() -> None:
    assert days.weekday(days.day_number(np.array([0, 86_400_000_000]))).tolist() == [3, 4]


def test_independent_rows_have_a_design_effect_near_one_and_no_season() -> None:
    found = days.numeric_days(_counts(np.zeros(56)), np.arange(56) % 7)
    assert 1.0 <= found.design_effect < 1.25
    assert found.weekday_offsets == ()
    assert found.rows_per_day == ROWS


def test_a_jitter_of_the_days_becomes_the_design_effect_it_causes() -> None:
    jitter = np.random.default_rng(4).normal(0, 0.05, size=84)
    found = days.numeric_days(_counts(jitter), np.zeros(84, dtype=np.int64))
    # Moving a normal by δ moves F at the median by δ φ(0); Kish: 1 + m τ² / (p (1 - p)).
    expected = 1 + ROWS * (0.05 * 0.3989) ** 2 / 0.25
    assert 0.5 * expected < found.design_effect < 1.3 * expected


def test_a_weekly_season_becomes_offsets_and_leaves_the_floor_low() -> None:
    weekdays = np.arange(56) % 7
    season = np.where(weekdays >= 5, 0.4, 0.0)
    found = days.numeric_days(_counts(season), weekdays)
    assert len(found.weekday_offsets) == 7
    saturday = found.weekday_offsets[5]
    assert saturday[0] == 0.0 == saturday[-1]
    # F moves by Φ(0.4 share) around the middle: weekend against the pool is 0.4·5/7 σ.
    assert abs(min(saturday) + 0.113) < 0.02
    assert found.floor < 0.05
    assert len(found.floor_by_weekday) == 7


def test_a_handful_of_rows_on_one_day_does_not_set_the_floor() -> None:
    counts = _counts(np.zeros(30))
    counts[0] = 0
    counts[0, 0] = 3
    assert days.numeric_days(counts, np.zeros(30, dtype=np.int64)).floor < 0.05


def test_fewer_than_a_week_of_days_teaches_nothing() -> None:
    found = days.numeric_days(_counts(np.zeros(6)), np.arange(6))
    assert found == days.DayStructure()


def test_categories_learn_their_weekday_mix() -> None:
    rng = np.random.default_rng(5)
    weekdays = np.arange(56) % 7
    counts = np.stack(
        [rng.multinomial(ROWS, [0.6, 0.4] if day < 5 else [0.3, 0.7]) for day in weekdays]
    )
    found = days.categorical_days(counts, weekdays)
    assert abs(found.weekday_offsets[5][0] + 0.3 * 5 / 7) < 0.02
    assert found.floor < 0.06


def test_scores_of_independent_days_are_standard_and_their_sum_stays_low() -> None:
    scores = days.numeric_days(_counts(np.zeros(70)), np.arange(70) % 7).scores
    assert abs(scores.mean) < 0.6
    assert 0.7 < scores.upper_std < 1.4
    assert scores.cusum_max < 4.5


def test_spells_of_weather_are_left_out_whole_and_raise_the_usual_sum() -> None:
    spell = np.repeat(np.random.default_rng(6).normal(0, 0.5, size=14), 5)
    found = days.numeric_days(_counts(spell), np.arange(70) % 7)
    calm = days.numeric_days(_counts(np.zeros(70)), np.arange(70) % 7)
    assert found.design_effect > 50
    assert found.scores.cusum_max > calm.scores.cusum_max


def test_a_live_score_is_never_made_larger() -> None:
    calm = CleanScores(mean=-0.5, upper_std=0.5)
    wild = CleanScores(mean=1.0, upper_std=2.0)
    assert days.standardised(3.0, calm) == 3.0
    assert days.standardised(3.0, wild) == 1.0


def test_no_spread_and_a_constant_column_have_scores() -> None:
    constant = np.full((30, 1), 100)
    found = days.categorical_days(constant, np.arange(30) % 7)
    assert np.isfinite(found.scores.cusum_max)
