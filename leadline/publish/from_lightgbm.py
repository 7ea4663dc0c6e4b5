"""LightGBM to ONNX, exact at the splits."""

import re
from typing import Any

import numpy as np
from lightgbm import Booster
from onnxmltools import convert_lightgbm
from onnxmltools.convert.common.data_types import FloatTensorType

from leadline.publish import graph
from leadline.publish.original import Original, PublishError, Task, converting
from leadline.publish.rows import Floats, Rows, Scores, matrix

_CATEGORICAL = 1  # the lowest bit of a node's decision type
_OPSET = 15
_ZERO = 1.0000000180025095e-35
"""LightGBM reads anything as near to zero as zero, and splits there at this value; there is
nothing between the two to ask about (zero itself is among the edge rows)."""


def convert_lightgbm_model(model: Any, task: Task) -> Original:
    """A fitted ``LGBMClassifier``, ``LGBMRegressor`` or ``Booster``, trained on the inputs in
    order, text inputs as their codes (``rows.codes``)."""
    booster: Booster = getattr(model, "booster_", model)
    task.check_fitted_on(booster.feature_name(), booster.num_feature())
    _check_categories(booster, task)
    exact = Booster(model_str=floor_thresholds(booster.model_to_string()))
    with converting("onnxmltools"):
        converted = convert_lightgbm(
            exact,
            initial_types=[("input", FloatTensorType([None, len(task.inputs)]))],
            zipmap=False,
            target_opset=_OPSET,
        )
    classes = max(2, booster.num_model_per_iteration())
    output = "probabilities" if task.kind == "classification" else "variable"
    graph.keep_output(converted, output, classes if task.kind == "classification" else 1)
    if task.categories:
        graph.take_columns(converted, task.inputs, task.categories)
    return Original(
        framework="lightgbm",
        graph=converted,
        layout="columns" if task.categories else "matrix",
        output=output,
        score=lambda rows: _score(booster, rows, task),
        hyperparameters=_hyperparameters(model, booster),
        thresholds=_thresholds(booster, task),
        is_tree=True,
    )


def _check_categories(booster: Booster, task: Task) -> None:
    """A model that was fitted on pandas' categories remembers them, in the order of its codes."""
    known = [list(map(str, values)) for values in booster.pandas_categorical or []]
    given = [list(task.categories[name]) for name in task.names if name in task.categories]
    if known and known != given:
        wrong = next((own for own in known if own not in given), known[0])
        raise PublishError(
            "The model's own categories are others, or in another order, than those given: "
            f"{', '.join(wrong[:10])}{', …' if len(wrong) > 10 else ''}. "
            "Give frame[column].cat.categories of the training rows."
        )


def floor_thresholds(text: str) -> str:
    """The model text with each numeric threshold rounded down to a float32.

    LightGBM compares doubles, ONNX single floats. For a float32 x, x <= t holds exactly when
    x <= floor32(t); rounding to the nearest instead sends rows at the split the other way.
    """
    lines = text.split("\n")
    decisions: list[int] = []
    for number, line in enumerate(lines):
        # "decision_type=" follows "threshold=" within a tree, so it is looked up ahead.
        if line.startswith("threshold="):
            ahead = next(one for one in lines[number:] if one.startswith("decision_type="))
            decisions = [int(one) for one in ahead.partition("=")[2].split()]
            values = line.partition("=")[2].split()
            floored = [
                value if decision & _CATEGORICAL else repr(float(graph.floor32(float(value))))
                for value, decision in zip(values, decisions, strict=True)
            ]
            lines[number] = "threshold=" + " ".join(floored)
    # The sizes of the trees in the text have changed; without the line they are found by reading.
    kept = (line for line in lines if not re.match(r"tree_sizes=", line))
    return "\n".join(kept)


def _score(booster: Booster, rows: Rows, task: Task) -> Scores:
    answer = np.asarray(booster.predict(matrix(rows, task.names, task.categories)), np.float64)
    if task.kind == "classification" and answer.ndim == 1:
        answer = np.column_stack([1 - answer, answer])
    return answer.reshape(len(answer), -1)


def _hyperparameters(model: Any, booster: Booster) -> dict[str, Any]:
    given = model.get_params() if hasattr(model, "get_params") else dict(booster.params)
    return {name: value for name, value in given.items() if value is not None}


def _thresholds(booster: Booster, task: Task) -> dict[str, Floats]:
    found: dict[int, set[float]] = {}
    open_nodes = [tree["tree_structure"] for tree in booster.dump_model()["tree_info"]]
    while open_nodes:
        node = open_nodes.pop()
        if "split_index" in node:
            if node["decision_type"] == "<=" and abs(node["threshold"]) > _ZERO:
                found.setdefault(node["split_feature"], set()).add(float(node["threshold"]))
            open_nodes += [node["left_child"], node["right_child"]]
    return {task.names[index]: np.array(sorted(values)) for index, values in found.items()}
