"""A manifest says nothing that serving would pass over in silence, or fail on."""

from typing import Any

import pytest
from pydantic import ValidationError

from contracts.manifest import Calibration, Manifest, PostProcessing, Tensors, Threshold

MATRIX = Tensors(layout="matrix", probability="p")
CUT = Threshold(value=0.5)
KNOTS = Calibration(scores=(0.0, 0.5, 1.0), probabilities=(0.1, 0.1, 0.9))


@pytest.mark.parametrize(
    ("scores", "probabilities"),
    [
        ((0.0, 1.0), (0.5,)),
        ((0.0,), (0.5,)),
        ((0.0, 0.0), (0.1, 0.2)),
        ((1.0, 0.0), (0.1, 0.2)),
        ((0.0, 1.0), (0.0, 1.5)),
        ((0.0, 1.0), (-0.5, 1.0)),
    ],
)
def test_a_calibration_is_a_map_from_rising_scores_to_probabilities(
    scores: tuple[float, ...], probabilities: tuple[float, ...]
) -> None:
    with pytest.raises(ValidationError):
        Calibration(scores=scores, probabilities=probabilities)


def test_exploration_is_of_decisions_and_bounds_have_an_order() -> None:
    with pytest.raises(ValidationError, match="exploration needs a threshold"):
        PostProcessing(exploration_epsilon=0.1)
    with pytest.raises(ValidationError, match="clip_min"):
        PostProcessing(clip_min=1.0, clip_max=0.0)
    taken = PostProcessing(exploration_epsilon=0.1, threshold=CUT, clip_min=0.0, clip_max=0.0)
    assert taken.of_one_score()


@pytest.mark.parametrize(
    ("task", "post"),
    [
        ("regression", {"calibration": KNOTS}),
        ("regression", {"threshold": CUT}),
        ("regression", {"labels": ("no", "yes")}),
        ("classification", {"labels": ("a", "b", "c"), "threshold": CUT}),
        ("classification", {"labels": ("a", "b", "c"), "clip_max": 0.9}),
        ("classification", {"labels": ("a", "b", "c"), "calibration": KNOTS}),
    ],
)
def test_what_a_task_cannot_do_is_refused(task: Any, post: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Manifest(model="m", task=task, tensors=MATRIX, post_processing=PostProcessing(**post))


def test_what_each_task_can_do_is_taken() -> None:
    for task, post in (
        ("regression", {"clip_min": -1.0}),
        ("classification", {"labels": ("a", "b"), "threshold": CUT, "calibration": KNOTS}),
        ("classification", {"labels": ("a", "b", "c")}),
        ("raw", {"labels": ("a", "b", "c")}),
    ):
        taken = Manifest.model_validate(
            {"model": "m", "task": task, "tensors": MATRIX, "post_processing": post}
        )
        assert taken.task == task
