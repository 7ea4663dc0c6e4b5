"""From a model's raw output to what the caller is told."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from contracts.manifest import Manifest
from contracts.served import OUTCOMES, Floats

_NAN_ANSWER = OUTCOMES.index("nan_answer")
_HALF = 0.5


@dataclass(frozen=True, slots=True)
class Verdicts:
    """n rows, post-processed; arrays have shape [n]."""

    score: Floats
    """Probability of the positive class (the last one), or the regression value."""
    confidence: Floats
    predicted: npt.NDArray[np.int32]
    """Index of the class; −1 for regression."""
    decided: npt.NDArray[np.int8] | None
    """1 at or above the threshold, after exploration; None where the version decides nothing."""
    explored: npt.NDArray[np.bool_] | None
    propensity: npt.NDArray[np.float32]
    probabilities: Floats | None
    """[n, classes], for more than two classes."""
    outcome: npt.NDArray[np.uint8]


class PostProcessor:
    """The post-processing that a version's manifest declares, compiled once."""

    def __init__(self, manifest: Manifest) -> None:
        post = manifest.post_processing
        self._classification = manifest.task == "classification"
        self._calibration = None
        if post.calibration is not None:
            self._calibration = (
                np.asarray(post.calibration.scores, np.float64),
                np.asarray(post.calibration.probabilities, np.float64),
            )
        self._clip = None
        if post.clip_min is not None or post.clip_max is not None:
            self._clip = (post.clip_min, post.clip_max)
        self._threshold = post.threshold.value if post.threshold is not None else None
        self._epsilon = post.exploration_epsilon if post.threshold is not None else 0.0

    def run(self, raw: npt.NDArray[np.float32], rng: np.random.Generator) -> Verdicts:
        """Judge the raw outputs [n, classes], [n, 1] or [n]."""
        if raw.ndim == 1:
            raw = raw.reshape(-1, 1)
        if self._classification and raw.shape[1] > 2:
            return self._many_classes(raw.astype(np.float64))
        score = raw[:, -1].astype(np.float64)
        if self._calibration is not None:
            score = np.interp(score, *self._calibration)  # np.interp hands NaN on
        if self._clip is not None:
            score = np.clip(score, *self._clip)
        outcome = _outcome(score)
        n = len(score)
        if not self._classification:
            return Verdicts(
                score=score,
                confidence=np.where(outcome == 0, 1.0, np.nan),
                predicted=np.full(n, -1, np.int32),
                decided=None,
                explored=None,
                propensity=np.ones(n, np.float32),
                probabilities=None,
                outcome=outcome,
            )
        cut = _HALF if self._threshold is None else self._threshold
        predicted = (score >= cut).astype(np.int32)
        decided, explored, propensity = self._decide(predicted, rng)
        return Verdicts(
            score=score,
            confidence=np.maximum(score, 1.0 - score),
            predicted=predicted,
            decided=decided,
            explored=explored,
            propensity=propensity,
            probabilities=None,
            outcome=outcome,
        )

    def _decide(
        self, predicted: npt.NDArray[np.int32], rng: np.random.Generator
    ) -> tuple[npt.NDArray[np.int8] | None, npt.NDArray[np.bool_] | None, npt.NDArray[np.float32]]:
        """ε-greedy over the two decisions: with probability ε one of them at random.

        The propensity is that of the decision taken: 1 − ε/2 for the greedy one, ε/2 for the other.
        """
        n = len(predicted)
        if self._threshold is None:
            return None, None, np.ones(n, np.float32)
        greedy = predicted.astype(np.int8)
        if self._epsilon == 0.0:
            return greedy, None, np.ones(n, np.float32)
        other = rng.random(n) < self._epsilon / 2
        decided = np.where(other, 1 - greedy, greedy).astype(np.int8)
        share = np.where(other, self._epsilon / 2, 1.0 - self._epsilon / 2)
        return decided, other, share.astype(np.float32)

    @staticmethod
    def _many_classes(scores: Floats) -> Verdicts:
        n = len(scores)
        clean = np.where(np.isnan(scores), -np.inf, scores)
        return Verdicts(
            score=np.ascontiguousarray(scores[:, -1]),
            confidence=clean.max(axis=1),
            predicted=clean.argmax(axis=1).astype(np.int32),
            decided=None,
            explored=None,
            propensity=np.ones(n, np.float32),
            probabilities=scores,
            outcome=_outcome(scores.sum(axis=1)),
        )


def _outcome(score: Floats) -> npt.NDArray[np.uint8]:
    """``nan_answer`` where a number is NaN or infinite: JSON cannot say it and nobody could use
    it."""
    finite = np.isfinite(score)
    if np.count_nonzero(finite) == len(finite):
        return np.zeros(len(finite), np.uint8)
    return np.where(finite, np.uint8(0), np.uint8(_NAN_ANSWER))
