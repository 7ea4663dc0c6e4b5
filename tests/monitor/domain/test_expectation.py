"""Expected quality before labels; concept drift and prior shift after."""

import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression

from contracts.profile import QualityProfile
from monitor.domain import expectation, scoring

RNG = np.random.default_rng(50)
SCORES = RNG.beta(2, 4, size=20_000)
TRUTH = RNG.random(20_000) < SCORES**1.3
"""Validation rows of an overconfident model."""
BINS = scoring.reliability(SCORES, TRUTH)
KNOWN = expectation.recalibrate(BINS)


def _known() -> expectation.Recalibration:
    assert KNOWN is not None
    return KNOWN


def test_recalibration_equals_scikit_learns_isotonic_regression_on_the_bins() -> None:
    x = np.array([bin_.mean_score for bin_ in BINS])
    y = np.array([bin_.positives / bin_.rows for bin_ in BINS])
    theirs = IsotonicRegression(out_of_bounds="clip")
    theirs.fit(x, y, sample_weight=[bin_.rows for bin_ in BINS])
    at = np.linspace(x[0], x[-1], 50)
    assert _known().probabilities(at) == pytest.approx(theirs.predict(at))
    assert _known().probabilities(np.array([0.0, 1.0])).tolist() == [
        pytest.approx(max(0.0, theirs.predict([x[0]])[0] - x[0])),
        pytest.approx(theirs.predict([x[-1]])[0] + 1 - x[-1]),
    ]


def test_estimated_quality_follows_the_inputs_without_labels() -> None:
    for a, b in ((2, 4), (5, 2), (1, 1)):
        scores = RNG.beta(a, b, size=20_000)
        truth = RNG.random(20_000) < scores**1.3
        found = expectation.expect(_known(), scores, scores >= 0.5)
        assert found is not None
        assert found.accuracy.value == pytest.approx(((scores >= 0.5) == truth).mean(), abs=0.04)
        losses = scoring.log_losses(scores, truth)
        assert found.mean_log_loss == pytest.approx(losses.mean(), abs=0.05)
        assert found.mean_brier == pytest.approx(np.square(scores - truth).mean(), abs=0.03)


def test_the_interval_of_the_estimate_covers_the_realised_accuracy() -> None:
    covered = 0
    for _ in range(200):
        scores = RNG.beta(2, 4, size=400)
        truth = RNG.random(400) < _known().probabilities(scores)
        found = expectation.expect(_known(), scores, scores >= 0.5)
        assert found is not None
        covered += found.accuracy.low <= ((scores >= 0.5) == truth).mean() <= found.accuracy.high
    assert covered / 200 >= 0.9


def test_concept_drift_is_what_is_left_beyond_the_expectation() -> None:
    days = np.repeat(np.arange(14), 300)
    scores = RNG.beta(2, 4, size=len(days))
    found = expectation.expect(_known(), scores, scores >= 0.5)
    assert found is not None
    same = scoring.log_losses(scores, RNG.random(len(days)) < scores**1.3)
    other = scoring.log_losses(scores, RNG.random(len(days)) < np.minimum(1, scores**1.3 + 0.2))
    calm = expectation.concept_drift(same, found.log_loss, days)
    moved = expectation.concept_drift(other, found.log_loss, days)
    assert calm is not None
    assert moved is not None
    assert calm.low is not None
    assert calm.high is not None
    assert calm.low < 0 < calm.high
    assert moved.low is not None
    assert moved.low > 0


def test_few_days_have_no_interval() -> None:
    found = expectation.concept_drift(np.ones(9), np.zeros(9), np.repeat(np.arange(3), 3))
    assert found is not None
    assert (found.difference, found.low, found.days) == (1.0, None, 3)
    none = np.array([])
    assert expectation.concept_drift(none, none, none.astype(int)) is None


def _quality(tpr: float, fpr: float) -> QualityProfile:
    positives, negatives = 2000, 8000
    tp, fp = round(tpr * positives), round(fpr * negatives)
    confusion = ((negatives - fp, fp), (positives - tp, tp))
    return QualityProfile(rows=10_000, positives=positives, confusion=confusion)


def test_the_prior_is_estimated_from_decisions_alone() -> None:
    for prior in (0.1, 0.2, 0.4):
        truth = RNG.random(20_000) < prior
        decided = RNG.random(20_000) < np.where(truth, 0.7, 0.15)
        found = expectation.prior_shift(_quality(0.7, 0.15), decided)
        assert isinstance(found, expectation.PriorShift)
        assert found.baseline == 0.2
        assert found.now.low < prior < found.now.high
        assert found.now.value == pytest.approx(prior, abs=0.05)


def test_a_decision_that_separates_nothing_is_refused_in_words() -> None:
    found = expectation.prior_shift(_quality(0.2, 0.15), np.ones(10, dtype=bool))
    assert isinstance(found, str)
    assert "hardly separates" in found
    assert isinstance(expectation.prior_shift(QualityProfile(rows=1), np.ones(3, dtype=bool)), str)


def test_no_bins_or_rows_give_no_expectation() -> None:
    assert expectation.recalibrate(()) is None
    assert expectation.expect(_known(), np.array([]), np.array([], dtype=bool)) is None
