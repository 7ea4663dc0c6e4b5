"""Builds the baseline profile of a model version from its training and validation rows.

Runs once, when a version is published; the monitor needs nothing but its result.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from contracts.profile import (
    BaselineProfile,
    CategoricalProfile,
    ColumnProfile,
    HourRate,
    NumericProfile,
    QualityProfile,
)
from monitor.domain import days, edges, scoring
from monitor.domain.days import Floats, Ints
from monitor.domain.joint import build_joint

CATEGORIES_MAX = 1000
DISTINCT_NUMBERS_MAX = 20
"""A numeric column with no more distinct values than this is profiled as categorical."""

_HOUR_US = 3_600_000_000


@dataclass(frozen=True, slots=True)
class Validation:
    """Held-back rows, scored. For classification ``labels`` are 0/1 and ``scores`` are
    probabilities of the positive class; for regression both are in the label's unit. Shape [n].
    ``event_us`` [n] (int µs UTC) says which weekdays they are of: a few held-back days rarely hold
    each weekday equally often, and what they lack is no drift."""

    scores: Floats
    labels: Floats
    threshold: float = 0.5
    event_us: npt.ArrayLike | None = None


def build_profile(
    model: str,
    task: Literal["classification", "regression", "raw"],
    columns: Mapping[str, npt.ArrayLike],
    *,
    event_us: npt.ArrayLike | None = None,
    labels: npt.ArrayLike | None = None,
    predictions: npt.ArrayLike | None = None,
    confidence: npt.ArrayLike | None = None,
    classes: int | None = None,
    validation: Validation | None = None,
) -> BaselineProfile:
    """The profile of the training ``columns`` (each of shape [n]; null is NaN or None).

    ``event_us`` [n] are the event times of the rows (int µs UTC): with them the floors, design
    effects and the weekly season are learned. ``labels`` [n] (0/1) give hourly positive rates.
    ``predictions`` [n] are the model's scores of those rows: how days differ is learned from
    them, and the distribution only where there are no validation scores. ``confidence`` [n] is
    given where it does not follow from the score: with more than two ``classes``. Scores are those
    that are served, after calibration and clipping. Raises ``ValueError`` when lengths differ.
    """
    rows = {name: len(np.asarray(values)) for name, values in columns.items()}
    times = None if event_us is None else np.asarray(event_us, dtype=np.int64)
    if len({*rows.values(), *([] if times is None else [len(times)])}) > 1:
        raise ValueError(f"columns and event times have different lengths: {rows}")
    day = None if times is None else days.day_number(times)
    profiles = {name: column_profile(values, day) for name, values in columns.items()}
    return BaselineProfile(
        model=model,
        task=task,
        classes=classes,
        columns=profiles,
        joint=build_joint(columns, profiles, day),
        **_outputs(task, predictions, day, validation, confidence),
        quality=None if validation is None else _quality(task, validation),
        hours=() if times is None else _hours(times, labels),
    )


def column_profile(
    values: npt.ArrayLike, day: Ints | None = None, *, continuous: bool = False
) -> ColumnProfile:
    """The profile of one column; ``day`` [n] are day numbers (``days.day_number``).

    ``continuous`` keeps a numeric column numeric however few distinct values it has.
    """
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        return _categorical(category_keys(array), day)
    numbers = edges.single(array)
    distinct = np.unique(numbers[np.isfinite(numbers)])
    if not continuous and len(distinct) <= DISTINCT_NUMBERS_MAX:
        return _categorical(category_keys(numbers), day)
    if len(distinct) == 0:
        return _categorical(category_keys(numbers), day)
    return _numeric(numbers, day)


def category_keys(values: npt.ArrayLike | Sequence[Any]) -> npt.NDArray[np.object_]:
    """Category names of a column, shape [n]: strings as they are, numbers in shortest form at
    single precision (``1`` for 1.0), null for None and for numbers that are not finite."""
    array = np.asarray(values)
    if array.dtype.kind in "biuf":
        distinct, where = np.unique(edges.single(array), return_inverse=True)
        names = np.array([_number_key(float(value)) for value in distinct], dtype=object)
        keys: npt.NDArray[np.object_] = names[where]
        return keys
    return np.array([_key(value) for value in array.tolist()], dtype=object)


def _key(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, (bool, int, float)):
        return _number_key(float(np.float32(value)))
    return str(value)


def _number_key(value: float) -> str | None:
    if not np.isfinite(value):
        return None
    return str(int(value)) if value.is_integer() else format(value, ".7g")


def _numeric(numbers: Floats, day: Ints | None) -> NumericProfile:
    kept = np.isfinite(numbers)
    finite = numbers[kept]
    bins = edges.cut(finite)
    found = days.DayStructure()
    if day is not None:
        live = edges.thin(bins)
        at = np.searchsorted(live.edges, finite, side="left")
        found = days.numeric_days(*_by_day(at, len(live.counts), day[kept]))
    return NumericProfile(
        rows=len(numbers),
        nulls=len(numbers) - len(finite),
        mean=float(finite.mean()),
        std=float(finite.std()),
        minimum=float(finite.min()),
        maximum=float(finite.max()),
        edges=tuple(bins.edges.tolist()),
        counts=tuple(bins.counts.tolist()),
        floor_d=found.floor,
        floor_d_by_weekday=found.floor_by_weekday,
        design_effect=found.design_effect,
        rows_per_day=found.rows_per_day,
        weekday_offsets=found.weekday_offsets,
        clean_scores=found.scores,
    )


def _categorical(keys: npt.NDArray[np.object_], day: Ints | None) -> CategoricalProfile:
    known = np.array([key is not None for key in keys], dtype=bool)
    names, at, counts = np.unique(keys[known].astype(str), return_inverse=True, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    kept = order[:CATEGORIES_MAX]
    rank = np.full(len(names), len(kept), dtype=np.int64)
    rank[kept] = np.arange(len(kept))
    found = days.DayStructure()
    if day is not None:
        found = days.categorical_days(*_by_day(rank[at], len(kept) + 1, day[known]))
    return CategoricalProfile(
        rows=len(keys),
        nulls=len(keys) - int(known.sum()),
        categories={str(names[i]): int(counts[i]) for i in kept},
        other=int(counts[order[CATEGORIES_MAX:]].sum()),
        design_effect=found.design_effect,
        floor_d=found.floor,
        rows_per_day=found.rows_per_day,
        weekday_offsets=found.weekday_offsets,
        clean_scores=found.scores,
    )


def _by_day(at: Ints, width: int, day: Ints) -> tuple[Ints, Ints]:
    """Counts [days, width] of bin indices ``at`` and the weekday of each day."""
    numbers, index = np.unique(day, return_inverse=True)
    counts = np.bincount(index * width + at, minlength=len(numbers) * width)
    return counts.reshape(len(numbers), width), days.weekday(numbers)


def _outputs(
    task: str,
    predictions: npt.ArrayLike | None,
    day: Ints | None,
    validation: Validation | None,
    confidence: npt.ArrayLike | None = None,
) -> dict[str, ColumnProfile | None]:
    """Profiles of the score and of the confidence (probability of the predicted class)."""
    trained = None if predictions is None else np.asarray(predictions, dtype=np.float64)
    if trained is None or day is None or len(day) != len(trained):
        day = None
    held = None if validation is None else np.asarray(validation.scores, dtype=np.float64)
    values = held if held is not None else trained
    if values is None:
        return {"prediction": None, "confidence": None}
    known = trained if day is not None else None
    if day is not None and validation is not None and validation.event_us is not None:
        values = _even_weeks(values, validation, day)
    prediction = _output(values, known, day)
    if task != "classification":
        return {"prediction": prediction, "confidence": None}
    if confidence is not None:
        sure = np.asarray(confidence, dtype=np.float64)
        return {"prediction": prediction, "confidence": _output(sure, None, None)}
    surer = None if known is None else np.maximum(known, 1 - known)
    return {
        "prediction": prediction,
        "confidence": _output(np.maximum(values, 1 - values), surer, day),
    }


_OF_DAYS = (
    "floor_d", "design_effect", "floor_d_by_weekday", "rows_per_day", "weekday_offsets",
    "clean_scores",
)  # fmt: skip


def _even_weeks(scores: Floats, validation: Validation, day: Ints) -> Floats:
    """The validation scores [n] taken again so that each weekday has the share that it has among
    the training rows (systematic resampling, nothing random; weekdays not held back stay out)."""
    held = days.weekday(days.day_number(np.asarray(validation.event_us, dtype=np.int64)))
    wanted = np.bincount(days.weekday(day), minlength=7) / len(day)
    weight = (wanted / np.maximum(np.bincount(held, minlength=7), 1))[held]
    order = np.lexsort((scores, held))
    upto = np.cumsum(weight[order])
    at = np.searchsorted(upto, (np.arange(len(scores)) + 0.5) / len(scores) * upto[-1])
    again: Floats = scores[order][at]
    return again


def _output(values: Floats, trained: Floats | None, day: Ints | None) -> ColumnProfile:
    """The distribution of ``values``; how days differ is learned from the ``trained`` scores,
    which have times and are many, but look surer than the model is."""
    profile = column_profile(values, None, continuous=True)
    if trained is None:
        return profile
    by_day = column_profile(trained, day, continuous=True)
    if by_day.kind != profile.kind:
        return profile
    return profile.model_copy(
        update={name: getattr(by_day, name) for name in _OF_DAYS if hasattr(by_day, name)}
    )


def _quality(task: str, validation: Validation) -> QualityProfile:
    scores = np.asarray(validation.scores, dtype=np.float64)
    labels = np.asarray(validation.labels, dtype=np.float64)
    if task == "regression":
        error = scores - labels
        return QualityProfile(
            rows=len(labels),
            mae=float(np.abs(error).mean()),
            rmse=float(np.sqrt(np.square(error).mean())),
        )
    decided = scores >= validation.threshold
    truth = labels > 0.5
    cells = [[int(np.sum(~truth & ~decided)), int(np.sum(~truth & decided))]]
    cells.append([int(np.sum(truth & ~decided)), int(np.sum(truth & decided))])
    return QualityProfile(
        rows=len(labels),
        positives=int(truth.sum()),
        accuracy=float((truth == decided).mean()),
        log_loss=float(scoring.log_losses(scores, truth).mean()),
        brier=float(np.square(scores - truth).mean()),
        auc=scoring.auc(scores, truth),
        calibration=scoring.reliability(scores, truth),
        confusion=((cells[0][0], cells[0][1]), (cells[1][0], cells[1][1])),
    )


def _hours(times: Ints, labels: npt.ArrayLike | None) -> tuple[HourRate, ...]:
    hours = np.floor_divide(times, _HOUR_US)
    of_week = (hours + 72) % 168
    rows = np.bincount(of_week, minlength=168)
    positives = None
    if labels is not None:
        truth = np.asarray(labels, dtype=np.float64) > 0.5
        positives = np.bincount(of_week, weights=truth, minlength=168)
    return tuple(
        HourRate(
            hour_of_week=hour,
            rows=int(rows[hour]),
            positive_rate=None if positives is None else float(positives[hour] / rows[hour]),
        )
        for hour in range(168)
        if rows[hour]
    )
