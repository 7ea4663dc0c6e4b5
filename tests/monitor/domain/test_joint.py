"""Columns that move together."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from contracts.profile import BaselineProfile
from monitor.domain import joint
from monitor.domain.baseline import build_profile
from monitor.domain.edges import Floats

DAYS, ROWS, WIDTH = 28, 500, 6


def _rows(seed: int, rows: int, correlation: float = 0.0, shift: float = 0.0) -> dict[str, Floats]:
    rng = np.random.default_rng(seed)
    drawn = rng.normal(size=(rows, WIDTH))
    drawn[:, 1] = correlation * drawn[:, 0] + np.sqrt(1 - correlation**2) * drawn[:, 1]
    drawn[:, 2] += shift
    return {f"f{i}": drawn[:, i] for i in range(WIDTH)}


def _profile() -> BaselineProfile:
    day = np.repeat(np.arange(DAYS), ROWS) * 86_400_000_000
    return build_profile("m", "raw", _rows(1, DAYS * ROWS), event_us=day)


PROFILE = _profile()


def _map() -> joint.JointMap:
    compiled = joint.joint_map(BaselineProfile.model_validate_json(PROFILE.model_dump_json()))
    assert compiled is not None
    return compiled


COMPILED = _map()


def _judge(rows: dict[str, Floats]) -> joint.JointDrift:
    found = joint.judge_joint(COMPILED, joint.count_joint(COMPILED, rows))
    assert found is not None
    return found


def test_clean_windows_have_uniform_p_values() -> None:
    found = [_judge(_rows(seed, ROWS)) for seed in range(100, 250)]
    assert stats.kstest([drift.p for drift in found], "uniform").pvalue > 0.001
    # 150 windows at 1 %: the 99.9 % limit of false alarms is 6.
    assert sum(drift.pair_p < 0.01 for drift in found) <= 6
    assert sum(drift.z > 2.326 for drift in found) <= 6


def test_a_changed_correlation_is_found_and_the_pair_is_named() -> None:
    found = _judge(_rows(3, 2000, correlation=0.3))
    assert found.z > 4
    assert (found.pairs[0].first, found.pairs[0].second) == ("f0", "f1")
    assert found.pairs[0].before == pytest.approx(0.0, abs=0.05)
    assert found.pairs[0].now == pytest.approx(0.3, abs=0.07)


def test_a_shift_is_found_by_the_discrepancy() -> None:
    assert _judge(_rows(4, 2000, shift=0.5)).p < 1e-3


def test_the_random_features_approximate_the_gaussian_kernel() -> None:
    scores = COMPILED.normal_scores(_rows(5, 40))
    features = COMPILED.features(scores)
    squares = np.square(scores[:, None, :] - scores[None, :, :]).sum(axis=2)
    kernel = np.exp(-squares / (2 * 2 * WIDTH))
    assert np.abs(features @ features.T - kernel).mean() < 0.06


@given(st.integers(1, 59))
@settings(max_examples=15, deadline=None)
def test_windows_add_up(cut: int) -> None:
    rows = _rows(6, 60)
    parts = [
        dict(zip(rows, columns, strict=True))
        for columns in (
            [values[:cut] for values in rows.values()],
            [values[cut:] for values in rows.values()],
        )
    ]
    merged = joint.count_joint(COMPILED, parts[0]) + joint.count_joint(COMPILED, parts[1])
    whole = joint.count_joint(COMPILED, rows)
    assert merged.rows == whole.rows
    assert merged.features == pytest.approx(whole.features)
    assert merged.products == pytest.approx(whole.products)


def test_nulls_and_missing_columns_are_neutral_not_fatal() -> None:
    rows = _rows(7, 300)
    rows["f3"][:] = np.nan
    del rows["f4"]
    assert np.isfinite(_judge(rows).mmd2)


def test_too_few_rows_or_columns_give_nothing() -> None:
    assert joint.judge_joint(COMPILED, joint.count_joint(COMPILED, _rows(8, 150))) is None
    one = build_profile("m", "raw", {"x": np.arange(100.0)})
    assert one.joint is None
    assert joint.joint_map(one) is None
