"""What predictions were worth, said once and refused where it cannot be known."""

from dataclasses import replace

import numpy as np
import pytest

from contracts.manifest import PostProcessing, Threshold
from contracts.served import EXPLORED
from monitor.domain.appraisal import appraise, completeness, explored
from monitor.domain.scored import Scored
from tests.monitor.world import HOUR_US, NOW_US, manifest

RANDOM = np.random.default_rng(8)


def predictions(n: int, epsilon: float = 0.0) -> Scored:
    score = RANDOM.beta(2, 2, n)
    best = (score >= 0.5).astype(np.int64)
    explored_ = RANDOM.random(n) < epsilon
    action = np.where(explored_, RANDOM.integers(0, 2, n), best)
    same = 1 - epsilon + epsilon / 2
    return Scored(
        at_us=NOW_US + np.arange(n) * 1_000_000,
        score=score,
        predicted=action,
        label=(RANDOM.random(n) < score).astype(np.float64),
        label_us=np.full(n, NOW_US),
        outcome=np.zeros(n, np.int64),
        propensity=np.where(action == best, same, epsilon / 2 if epsilon else 1.0),
        flags=np.where(explored_, EXPLORED, 0),
        units=np.array(["u"] * n, dtype=object),
    )


def with_epsilon(epsilon: float) -> PostProcessing:
    return PostProcessing(threshold=Threshold(value=0.5), exploration_epsilon=epsilon)


def test_of_a_model_of_bare_tensors_no_probability_is_assumed() -> None:
    scored = predictions(500)
    found = appraise(replace(scored, score=scored.score * 20), "raw", None, 200)
    assert (found["state"], found["n"]) == ("OK", 500)
    assert found["mean_prediction"] == pytest.approx(float(scored.score.mean()) * 20)
    assert not {"log_loss", "brier", "accuracy", "calibration"} & set(found)


def test_exploration_tells_what_always_exploiting_would_have_earned() -> None:
    scored = predictions(20_000, epsilon=0.2)
    known = manifest(None).model_copy(update={"post_processing": with_epsilon(0.2)})
    found = explored(scored, known)
    assert found is not None
    assert found["agrees"]
    best = np.maximum(scored.score, 1 - scored.score).mean()
    for method in ("snips", "doubly_robust"):
        assert found[method]["low"] < best < found[method]["high"]
        assert found[method]["value"] == pytest.approx(best, abs=0.02)
    assert found["weights"]["mean_weight"] == pytest.approx(1.0, abs=0.02)


def test_a_share_that_was_not_configured_is_seen() -> None:
    known = manifest(None).model_copy(update={"post_processing": with_epsilon(0.05)})
    found = explored(predictions(5_000, epsilon=0.2), known)
    assert found is not None
    assert not found["agrees"]


def test_without_exploration_nothing_is_said_of_it() -> None:
    assert explored(predictions(100), manifest(None)) is None


def test_without_labels_quality_is_undefined_and_completeness_says_so() -> None:
    scored = predictions(300)
    scored.label[:] = np.nan
    found = appraise(scored, "classification", None, 200)
    assert (found["state"], found["n"]) == ("INSUFFICIENT_DATA", 0)
    assert "accuracy" not in found
    ages = completeness(scored, NOW_US + 30 * HOUR_US, 24 * HOUR_US)
    assert ages["completeness"] == 0.0
    assert ages["due"] == 300
    assert ages["completeness_by_age_days"] == {"1": 0.0}


def test_regression_is_judged_by_its_errors() -> None:
    scored = predictions(400)
    scored.label[:] = scored.score + 0.1
    found = appraise(scored, "regression", None, 200)
    assert found["mae"] == pytest.approx(0.1)
    assert found["rmse"] == pytest.approx(0.1)
    assert found["bias"] == pytest.approx(-0.1)


def test_of_many_classes_only_what_was_predicted_is_held_against_the_label() -> None:
    scored = predictions(400)
    scored.predicted[:] = np.arange(400) % 3
    scored.label[:] = np.where(np.arange(400) < 300, scored.predicted, (scored.predicted + 1) % 3)
    found = appraise(scored, "classification", None, 200, 3)
    assert found["accuracy"] == pytest.approx(0.75)
    low, high = found["accuracy_interval"]
    assert 0.6 < low < 0.75 < high < 0.85
    assert found["mean_label"] is None
    assert not {"calibration", "log_loss", "brier", "auc"} & found.keys()
    scored.label[:] = np.nan
    assert "accuracy" not in appraise(scored, "classification", None, 200, 3)
