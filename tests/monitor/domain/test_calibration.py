"""Calibration: alarm and explanation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from contracts.profile import ReliabilityBin
from monitor.domain import calibration, scoring
from monitor.domain.edges import Ints


def test_spiegelhalters_z_is_standard_normal_on_a_perfect_model() -> None:
    rng = np.random.default_rng(40)
    z = []
    for _ in range(1500):
        scores = rng.beta(2, 5, size=400)
        z.append(calibration.spiegelhalter(scores, rng.random(400) < scores).z)
    assert stats.kstest(z, "norm").pvalue > 0.01


def test_spiegelhalters_z_equals_its_definition_through_the_brier_score() -> None:
    # Spiegelhalter 1986: (Brier − E[Brier]) / sd[Brier] under the stated probabilities.
    rng = np.random.default_rng(41)
    p = rng.random(50)
    y = rng.random(50) < 0.5
    brier = np.square(y - p).mean()
    expected = (p * (1 - p)).mean()
    deviation = np.sqrt((np.square(1 - 2 * p) * p * (1 - p)).sum()) / 50
    found = calibration.spiegelhalter(p, y)
    assert found.z == pytest.approx((brier - expected) / deviation)
    assert found.p == pytest.approx(2 * stats.norm.sf(abs(found.z)))


@given(st.integers(0, 60))
def test_sums_of_two_parts_add_up(cut: int) -> None:
    rng = np.random.default_rng(42)
    p, y = rng.random(60), rng.random(60) < 0.4
    parts = calibration.spiegelhalter(p[:cut], y[:cut]) + calibration.spiegelhalter(
        p[cut:], y[cut:]
    )
    whole = calibration.spiegelhalter(p, y)
    assert parts.rows == whole.rows
    assert (parts.excess, parts.variance) == pytest.approx((whole.excess, whole.variance))


def test_the_debiased_error_is_near_zero_where_the_plug_in_reads_six_percent() -> None:
    rng = np.random.default_rng(43)
    squares, plug_in = [], []
    for _ in range(300):
        scores = rng.random(500)
        found = calibration.calibration_error(scoring.reliability(scores, rng.random(500) < scores))
        squares.append(found.rmsce)
        plug_in.append(found.ece)
    assert np.median(squares) < 0.025
    assert np.mean(plug_in) == pytest.approx(0.06, abs=0.015)


def test_the_debiased_error_finds_a_real_gap() -> None:
    rng = np.random.default_rng(44)
    scores = rng.uniform(0.1, 0.8, size=20_000)
    truth = rng.random(20_000) < scores + 0.1
    found, alarm = calibration.calibration(scores, truth)
    assert found.rmsce == pytest.approx(0.1, abs=0.01)
    assert alarm.p < 1e-6


def test_bins_of_one_row_and_no_bins_say_nothing() -> None:
    one = ReliabilityBin(mean_score=0.2, positives=1, rows=1)
    assert calibration.calibration_error((one,)).rmsce == 0
    assert calibration.calibration_error(()).rows == 0
    assert calibration.Spiegelhalter().z == 0


def _stormy(days: int, rows: int, seed: int) -> tuple[scoring.Floats, scoring.Bools, Ints]:
    """A model that is right on average; each day's weather moves all its outcomes together."""
    rng = np.random.default_rng(seed)
    day: Ints = np.repeat(np.arange(days, dtype=np.int64), rows)
    scores = rng.beta(2, 6, days * rows)
    truth = rng.random(days * rows) < np.clip(scores + rng.normal(0, 0.1, days)[day], 0, 1)
    return scores, truth, day


def test_days_that_move_together_are_no_miscalibration() -> None:
    found = [calibration.p_by_day(*_stormy(7, 900, seed)) for seed in range(300)]
    assert np.mean([p is not None and p < 0.05 for p in found]) < 0.09
    by_rows = [calibration.spiegelhalter(*_stormy(7, 900, seed)[:2]).p for seed in range(50)]
    assert np.mean(np.array(by_rows) < 1e-6) > 0.3


def test_a_model_that_is_always_too_low_is_miscalibrated_by_days_too() -> None:
    scores, truth, day = _stormy(7, 900, 1)
    found = calibration.p_by_day(scores * 0.3, truth, day)
    assert found is not None
    assert found < 0.01


def test_one_day_says_nothing_of_calibration() -> None:
    scores, truth, day = _stormy(4, 900, 1)
    assert calibration.p_by_day(scores, truth, day) is None
    assert calibration.p_by_day(scores[:0], truth[:0], day[:0]) is None
