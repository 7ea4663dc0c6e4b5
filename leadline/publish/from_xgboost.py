"""XGBoost to ONNX."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd
import xgboost
from onnxmltools import convert_xgboost
from onnxmltools.convert.common.data_types import FloatTensorType

from leadline.publish import graph
from leadline.publish.original import Original, PublishError, Task, converting
from leadline.publish.rows import Floats, Rows, Scores, matrix

_OPSET = 15


def convert_xgboost_model(model: Any, task: Task) -> Original:
    """A fitted ``XGBClassifier`` or ``XGBRegressor``, trained on the inputs in order, text inputs
    as their codes. A bare ``Booster`` does not say what it predicts and is refused."""
    if isinstance(model, xgboost.Booster):
        raise PublishError("Publish the XGBClassifier or XGBRegressor instead of its Booster.")
    booster = model.get_booster()
    task.check_fitted_on(booster.feature_names, booster.num_features())
    if "c" in (booster.feature_types or []):
        raise PublishError(
            "The converter does not carry over XGBoost's own categorical splits: fit on codes "
            "(numbers) without enable_categorical, and give categories."
        )
    with _nameless(booster), converting("onnxmltools"):
        converted = convert_xgboost(
            model,
            initial_types=[("input", FloatTensorType([None, len(task.inputs)]))],
            target_opset=_OPSET,
        )
        thresholds = _thresholds(booster, task)
    classification = task.kind == "classification"
    output = "probabilities" if classification else "variable"
    graph.keep_output(
        converted, output, len(getattr(model, "classes_", ())) if classification else 1
    )
    if task.categories:
        graph.take_columns(converted, task.inputs, task.categories)
    return Original(
        framework="xgboost",
        graph=converted,
        layout="columns" if task.categories else "matrix",
        output=output,
        score=lambda rows: _score(model, rows, task),
        hyperparameters={k: v for k, v in model.get_params().items() if v is not None},
        thresholds=thresholds,
        is_tree=True,
    )


@contextmanager
def _nameless(booster: Any) -> Iterator[None]:
    """The converter knows features by position only; afterwards the model is its owner's again."""
    names, types = booster.feature_names, booster.feature_types
    booster.feature_names = booster.feature_types = None
    try:
        yield
    finally:
        booster.feature_names, booster.feature_types = names, types


def _score(model: Any, rows: Rows, task: Task) -> Scores:
    answer = model.predict_proba if task.kind == "classification" else model.predict
    given: Any = matrix(rows, task.names, task.categories)
    names = model.get_booster().feature_names
    if names is not None:
        given = pd.DataFrame(given, columns=names)
    scores = np.asarray(answer(given), np.float64)
    return scores.reshape(len(scores), -1)


def _thresholds(booster: Any, task: Task) -> dict[str, Floats]:
    found: dict[int, set[float]] = {}
    for text in booster.get_dump(dump_format="json"):
        open_nodes = [json.loads(text)]
        while open_nodes:
            node = open_nodes.pop()
            if "split_condition" in node:
                feature = int(str(node["split"]).removeprefix("f"))
                found.setdefault(feature, set()).add(float(node["split_condition"]))
                open_nodes += node["children"]
    return {
        task.names[index]: np.array(sorted(values))
        for index, values in found.items()
        if task.names[index] not in task.categories
    }
