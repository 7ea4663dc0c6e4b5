"""Quality with intervals, against scikit-learn, scipy and simulation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics

from monitor.domain import quality

ROWS = st.lists(st.tuples(st.floats(0.001, 0.999), st.booleans()), min_size=3, max_size=80)


@given(ROWS)
@settings(max_examples=60, deadline=None)
def test_classification_equals_scikit_learns(rows: list[tuple[float, bool]]) -> None:
    scores = np.array([score for score, _ in rows])
    truth = np.array([label for _, label in rows])
    found = quality.classification(scores, truth, scores >= 0.5)
    assert found is not None
    assert found.log_loss.value == pytest.approx(
        metrics.log_loss(truth, scores, labels=[False, True])
    )
    assert found.brier.value == pytest.approx(metrics.brier_score_loss(truth, scores))
    assert found.accuracy.value == pytest.approx(metrics.accuracy_score(truth, scores >= 0.5))
    if 0 < truth.sum() < len(truth):
        assert found.auc is not None
        assert found.auc.value == pytest.approx(metrics.roc_auc_score(truth, scores))
        assert found.auc.low <= found.auc.value <= found.auc.high
    else:
        assert found.auc is None


def test_regression_equals_scikit_learns() -> None:
    rng = np.random.default_rng(30)
    labels = rng.normal(size=300)
    predicted = labels + rng.normal(0.3, 1.0, size=300)
    found = quality.regression(predicted, labels)
    assert found is not None
    assert found.mae.value == pytest.approx(metrics.mean_absolute_error(labels, predicted))
    assert found.rmse.value == pytest.approx(metrics.root_mean_squared_error(labels, predicted))
    assert found.bias.low < 0.3 < found.bias.high


def test_the_interval_of_a_mean_is_students() -> None:
    values = np.random.default_rng(31).normal(size=25)
    found = quality.mean(values)
    low, high = stats.t.interval(0.95, 24, values.mean(), stats.sem(values))
    assert (found.low, found.high) == pytest.approx((low, high))


def test_days_widen_the_interval_to_what_they_vary() -> None:
    rng = np.random.default_rng(32)
    covered_days = covered_rows = 0
    for _ in range(300):
        days = np.repeat(np.arange(14), 50)
        values = rng.normal(size=700) + rng.normal(0, 1.0, size=14)[days]
        by_day, by_row = quality.mean(values, days), quality.mean(values)
        covered_days += by_day.low <= 0 <= by_day.high
        covered_rows += by_row.low <= 0 <= by_row.high
    assert 0.91 <= covered_days / 300 <= 0.99
    assert covered_rows / 300 < 0.5


def test_a_loss_of_two_days_that_differ_is_said_to_be_nothing_that_it_cannot_be() -> None:
    scores = np.array([0.9] * 50 + [0.1] * 50)
    truth, days = np.ones(100, np.bool_), np.repeat([0, 1], 50)
    found = quality.classification(scores, truth, scores > 0.5, days)
    assert found is not None
    assert quality.mean(np.square(scores - truth), days).low < 0
    assert found.log_loss.low == found.brier.low == 0.0
    assert found.brier.high == 1.0
    errors = quality.regression(scores, truth.astype(float), days)
    assert errors is not None
    assert errors.mae.low == errors.rmse.low == 0.0
    assert errors.bias.low < errors.bias.value < 0


def test_delongs_interval_covers_the_true_auc() -> None:
    rng = np.random.default_rng(33)
    truth_auc = stats.norm.cdf(1 / np.sqrt(2))
    covered = 0
    for _ in range(300):
        truth = rng.random(200) < 0.3
        found = quality.auc(rng.normal(truth * 1.0, 1.0), truth)
        assert found is not None
        covered += found.low <= truth_auc <= found.high
    # 300 runs at 95 %: three standard errors are 3.8 %.
    assert covered / 300 >= 0.912


def test_a_perfect_auc_has_an_interval_that_does_not_pretend() -> None:
    found = quality.auc(np.array([0.1, 0.2, 0.8, 0.9]), np.array([False, False, True, True]))
    assert found is not None
    assert (found.value, found.high) == (1.0, 1.0)
    assert found.low == 0.0
    big = quality.auc(np.arange(400.0), np.arange(400) >= 200)
    assert big is not None
    assert 0.95 < big.low < 1.0


def test_no_rows_have_no_quality() -> None:
    none = np.array([])
    assert quality.classification(none, none.astype(bool), none.astype(bool)) is None
    assert quality.regression(none, none) is None
    assert quality.mean(np.array([2.0])).low == -np.inf
