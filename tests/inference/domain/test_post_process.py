"""What the raw output becomes: calibrated, clipped, decided, explored, never a silent NaN."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.manifest import Calibration, PostProcessing, Threshold
from contracts.served import OUTCOMES
from inference.domain.post_process import PostProcessor, Verdicts
from tests.inference.parts import logistic_model, manifest_for

MODEL = logistic_model([0.1] * 10)
NAN_ANSWER = OUTCOMES.index("nan_answer")


def run(raw: Any, task: str = "classification", seed: int = 1, **post: Any) -> Verdicts:
    manifest = manifest_for(MODEL, task=task, post_processing=PostProcessing(**post))
    return PostProcessor(manifest).run(np.asarray(raw, np.float32), np.random.default_rng(seed))


def test_the_last_column_is_the_positive_class() -> None:
    verdicts = run([[0.75, 0.25], [0.25, 0.75]])
    assert verdicts.score.tolist() == [0.25, 0.75]
    assert verdicts.predicted.tolist() == [0, 1]
    assert verdicts.confidence.tolist() == [0.75, 0.75]
    assert verdicts.decided is None


def test_a_threshold_decides_at_or_above() -> None:
    threshold = Threshold(value=0.25)
    verdicts = run([[0.75, 0.25], [0.875, 0.125]], threshold=threshold)
    assert verdicts.decided is not None
    assert verdicts.decided.tolist() == [1, 0]
    assert verdicts.propensity.tolist() == [1.0, 1.0]


def test_calibration_interpolates_and_clipping_bounds() -> None:
    calibration = Calibration(scores=(0.0, 0.5, 1.0), probabilities=(0.0, 0.25, 1.0))
    verdicts = run([[1.0, 0.0], [0.75, 0.25], [0.0, 1.0]], calibration=calibration, clip_max=0.9)
    assert verdicts.score.tolist() == [0.0, 0.125, 0.9]


def test_a_regression_has_a_value_and_no_class() -> None:
    verdicts = run([[1.5], [-2.0]], task="regression", clip_min=0.0)
    assert verdicts.score.tolist() == [1.5, 0.0]
    assert verdicts.predicted.tolist() == [-1, -1]


def test_many_classes_take_the_best() -> None:
    verdicts = run([[0.25, 0.5, 0.25], [0.5, 0.25, 0.25]])
    assert verdicts.predicted.tolist() == [1, 0]
    assert verdicts.score.tolist() == [0.25, 0.25]
    assert verdicts.probabilities is not None


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_an_error_of_its_row(bad: float) -> None:
    assert run([[0.5, 0.5], [0.5, bad]]).outcome.tolist() == [0, NAN_ANSWER]
    assert run([[0.5], [bad]], task="regression").outcome.tolist() == [0, NAN_ANSWER]
    assert run([[0.5, 0.25, 0.25], [0.5, bad, 0.5]]).outcome.tolist() == [0, NAN_ANSWER]


def test_exploration_takes_the_other_decision_as_often_as_its_propensity_says() -> None:
    n, epsilon = 20_000, 0.2
    threshold = Threshold(value=0.5)
    raw = np.tile([[0.25, 0.75]], (n, 1))
    verdicts = run(raw, threshold=threshold, exploration_epsilon=epsilon)
    assert verdicts.decided is not None
    assert verdicts.explored is not None
    other = verdicts.decided == 0
    assert other.mean() == pytest.approx(epsilon / 2, abs=0.01)
    assert np.unique(verdicts.propensity[other]).tolist() == pytest.approx([epsilon / 2])
    assert np.unique(verdicts.propensity[~other]).tolist() == pytest.approx([1 - epsilon / 2])
    assert (verdicts.explored == other).all()
    # The inverse-propensity estimate of the share of decision 1 under the greedy policy is 1.
    greedy = (~other) / verdicts.propensity
    assert greedy.mean() == pytest.approx(1.0, abs=0.01)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.floats(0, 1, width=32), min_size=1, max_size=20),
    st.floats(0, 1),
    st.floats(0, 0.5),
)
def test_a_row_is_judged_the_same_in_any_company(
    scores: list[float], cut: float, low: float
) -> None:
    post: dict[str, Any] = {"threshold": Threshold(value=cut), "clip_min": low}
    raw = [[1 - score, score] for score in scores]
    together = run(raw, **post)
    for index, row in enumerate(raw):
        alone = run([row], **post)
        assert alone.score[0] == together.score[index]
        assert alone.predicted[0] == together.predicted[index]
