"""scikit-learn estimators and pipelines to ONNX."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import (
    BooleanTensorType,
    DoubleTensorType,
    FloatTensorType,
    Int32TensorType,
    Int64TensorType,
    StringTensorType,
)
from skl2onnx.operator_converters.random_forest import (
    convert_sklearn_random_forest_classifier,
    convert_sklearn_random_forest_regressor_converter,
)
from sklearn.base import is_classifier
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.pipeline import Pipeline

from leadline.publish import graph
from leadline.publish.original import NullRefusedError, Original, PublishError, Task, converting
from leadline.publish.rows import Floats, Rows, Scores, matrix

_TYPES: dict[str, Any] = {
    "float32": FloatTensorType,
    "float64": DoubleTensorType,
    "int64": Int64TensorType,
    "int32": Int32TensorType,
    "bool": BooleanTensorType,
    "string": StringTensorType,
}
_OPSET = {"": 18, "ai.onnx.ml": 3}


def convert_sklearn_model(model: Any, task: Task) -> Original:
    """A fitted estimator or ``Pipeline``.

    Fitted on a DataFrame with text columns (a ``ColumnTransformer`` that encodes them): the inputs
    become its columns. Fitted on numbers: they become one matrix.
    """
    if task.kind == "classification" and not hasattr(model, "predict_proba"):
        raise PublishError(
            "A classifier must have predict_proba to be published as one; "
            f"CalibratedClassifierCV gives it to a {type(model).__name__}."
            if is_classifier(model)
            else f'A {type(model).__name__} gives values: is it task="regression"?'
        )
    _check_no_strangers(model)
    by_column = _selects_by_name(model) or (
        any(c.dtype == "string" for c in task.inputs) and not task.categories
    )
    _check_categorical_splits(model)
    if not by_column:
        task.check_fitted_on(getattr(model, "feature_names_in_", None), model.n_features_in_)
    converted = _converted(model, task, by_column)
    output = "probabilities" if task.kind == "classification" else "variable"
    width = len(model.classes_) if task.kind == "classification" else 1
    graph.keep_output(converted, output, width)
    thresholds = _thresholds(model)
    if hasattr(model, "_predictors"):  # for the others the converter rounds as it must
        graph.floor_splits(converted, thresholds)
    if task.categories:
        graph.take_columns(converted, task.inputs, task.categories)
    return Original(
        framework="scikit-learn",
        graph=converted,
        layout="columns" if by_column or task.categories else "matrix",
        output=output,
        score=lambda rows: _score(model, rows, task, by_column),
        hyperparameters=_hyperparameters(model),
        thresholds={
            task.names[index]: values
            for index, values in thresholds.items()
            if task.names[index] not in task.categories
        },
        is_tree=bool(thresholds),
    )


def _check_no_strangers(model: Any) -> None:
    """skl2onnx does not know the estimators of other packages, and says so in its own terms."""
    parts = [model, *model.get_params(deep=True).values()]
    for part in parts:
        if type(part).__module__.partition(".")[0] in {"lightgbm", "xgboost"}:
            inner, outer = type(part).__name__, type(model).__name__
            raise PublishError(
                f"A {inner} inside a {outer} is not converted: publish the {inner} itself (of a "
                "search, its best_estimator_), fitted on numbers; text as codes, with categories. "
                "PostProcessing(calibration=…) takes the place of a calibrated classifier."
            )


def _check_categorical_splits(model: Any) -> None:
    last = model.steps[-1][1] if isinstance(model, Pipeline) else model
    splits = getattr(last, "is_categorical_", None)
    if splits is not None and np.any(splits):
        raise PublishError(
            f"The converter does not carry over the categorical splits of a {type(last).__name__}: "
            "encode the text in a pipeline and fit without categorical_features."
        )


def _selects_by_name(model: Any) -> bool:
    """Whether it begins with a ``ColumnTransformer`` that names its columns."""
    first = model.steps[0][1] if isinstance(model, Pipeline) else model
    if not isinstance(first, ColumnTransformer):
        return False
    # Where it is fitted, a selector has become the names that it selected.
    fitted = getattr(first, "transformers_", first.transformers)
    chosen = [columns for name, _, columns in fitted if name != "remainder"]
    return any(isinstance(name, str) for columns in chosen for name in np.ravel([columns]))


def _converted(model: Any, task: Task, by_column: bool) -> Any:
    if by_column:
        types = [(c.name, _TYPES[c.dtype]([None, 1])) for c in task.inputs]
    else:
        types = [("input", FloatTensorType([None, len(task.inputs)]))]
    with converting("skl2onnx"):
        return convert_sklearn(
            model,
            initial_types=types,
            target_opset=_OPSET,
            options={id(model): {"zipmap": False}} if task.kind == "classification" else {},
            custom_conversion_functions=_converters(),
        )


class _WholeNumbers:
    """A skl2onnx container that writes flags as the integers they are in ONNX: the converter of
    the histogram boosters mixes in bools, which protobuf 5 and later refuse."""

    def __init__(self, container: Any) -> None:
        self._container = container

    def __getattr__(self, name: str) -> Any:
        return getattr(self._container, name)

    def add_node(self, *arguments: Any, **attributes: Any) -> None:
        whole = {
            name: [int(flag) for flag in value] if name.startswith("nodes_missing") else value
            for name, value in attributes.items()
        }
        self._container.add_node(*arguments, **whole)


def _converters() -> dict[Any, Any]:
    def classifier(scope: Any, operator: Any, container: Any) -> None:
        convert_sklearn_random_forest_classifier(scope, operator, _WholeNumbers(container))

    def regressor(scope: Any, operator: Any, container: Any) -> None:
        convert_sklearn_random_forest_regressor_converter(scope, operator, _WholeNumbers(container))

    return {
        HistGradientBoostingClassifier: classifier,
        HistGradientBoostingRegressor: regressor,
    }


def _score(model: Any, rows: Rows, task: Task, by_column: bool) -> Scores:
    if by_column:
        given: Any = pd.DataFrame({name: rows[name] for name in task.names})
    else:
        given = matrix(rows, task.names, task.categories)
        if hasattr(model, "feature_names_in_"):
            given = pd.DataFrame(given, columns=list(model.feature_names_in_))
    answer = model.predict_proba if task.kind == "classification" else model.predict
    try:
        scores = np.asarray(answer(given), np.float64)
    except ValueError as refused:
        if "NaN" in str(refused) or "null" in str(refused):
            raise NullRefusedError(str(refused)) from None
        if "unknown categor" in str(refused):
            raise PublishError(
                "The model fails on a text that it never saw, as the first new one would: give its "
                'encoder handle_unknown="ignore" (or "use_encoded_value").'
            ) from None
        raise
    if scores.ndim > 2 or (task.kind == "regression" and scores.ndim == 2 and scores.shape[1] > 1):
        raise PublishError("The model answers several questions at once: publish one for each.")
    return scores.reshape(len(scores), -1)


def _hyperparameters(model: Any) -> dict[str, Any]:
    return {name: value for name, value in model.get_params().items() if value is not None}


def _trees(model: Any) -> Iterator[tuple[Any, Any]]:
    """(feature indices, thresholds) of each tree of a forest, a boosting or a single tree."""
    for stage in np.ravel(getattr(model, "_predictors", [])):
        inner = stage.nodes[~stage.nodes["is_leaf"].astype(bool)]
        yield inner["feature_idx"], inner["num_threshold"]
    grown = getattr(model, "estimators_", [model])
    for one in np.ravel(np.asarray(grown, dtype=object)):
        if hasattr(one, "tree_"):
            inner = one.tree_.children_left >= 0
            yield one.tree_.feature[inner], one.tree_.threshold[inner]


def _thresholds(model: Any) -> dict[int, Floats]:
    """The splits of a tree model by feature index, in double precision; empty for others."""
    found: dict[int, set[float]] = {}
    for features, thresholds in _trees(model):
        for feature, threshold in zip(features.tolist(), thresholds.tolist(), strict=True):
            found.setdefault(feature, set()).add(threshold)
    return {index: np.array(sorted(values)) for index, values in found.items()}
