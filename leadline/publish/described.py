"""Is the model what its author says of it? Asked before and after it is converted.

What stands here would otherwise be published and answer wrongly: the parity report compares the
export with the original, and both would be asked in the same wrong way.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from contracts.fillable import policy_fault
from contracts.manifest import NAME_RULE, InputColumn, PostProcessing
from leadline.publish.original import PublishError
from leadline.publish.rows import Rows, length, rows_of


def check_inputs(inputs: Sequence[InputColumn], categories: Mapping[str, Sequence[str]]) -> None:
    """Raises ``PublishError`` unless each input is named once and may be what it says."""
    if not all(isinstance(column, InputColumn) for column in inputs):
        raise PublishError("inputs are InputColumn(name=…, dtype=…, source=…), one a column.")
    if not inputs:
        raise PublishError("inputs is empty: describe what the model was fitted on, in order.")
    names = [column.name for column in inputs]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise PublishError(f"Inputs are named twice: {', '.join(repeated)}.")
    for column in inputs:
        if wrong := policy_fault(column):
            raise PublishError(f"The input {column.name}: {wrong}.")
    texts = {column.name for column in inputs if column.dtype == "string"}
    strangers = sorted(set(categories) - texts)
    if strangers:
        raise PublishError(f"Categories are given for no text input: {', '.join(strangers)}.")
    bare = sorted(texts - set(categories))
    if categories and bare:
        raise PublishError(f"Give categories for all text inputs: {', '.join(bare)} has none.")


def described_rows(name: str, rows: Any, inputs: Sequence[InputColumn]) -> Rows:
    """The sample or the validation rows. Raises ``PublishError`` for what is not there."""
    try:
        found = rows_of(rows, inputs)
    except KeyError as absent:
        raise PublishError(f"{name}: {absent.args[0]}.") from None
    except ValueError as wrong:
        raise PublishError(f"{name}: {wrong}.") from None
    if not length(found):
        raise PublishError(f"{name}: there are no rows.")
    return found


def labels_of(given: npt.ArrayLike, rows: Rows) -> npt.NDArray[np.float64]:
    """The labels of the validation rows. Raises ``PublishError``."""
    try:
        labels = np.asarray(given, np.float64)
    except (ValueError, TypeError):
        raise PublishError(
            "labels are numbers: of classes 0, 1, … in the order of the model's classes. What a "
            "class is called stands in PostProcessing(labels=…)."
        ) from None
    if labels.shape != (length(rows),):
        raise PublishError(
            f"{length(rows)} validation rows have labels of the shape {labels.shape}; give one a "
            "row, in one dimension."
        )
    if not np.isfinite(labels).all():
        raise PublishError("labels: some are null; leave out the rows that have none.")
    return labels


def check_one_a_row(name: str, given: npt.ArrayLike | None, rows: Rows) -> None:
    """Raises ``PublishError`` unless it is absent or numbers, one a row; times are whole ones."""
    if given is None:
        return
    values, times = np.asarray(given), name.endswith("_us")
    if values.dtype.kind not in ("iu" if times else "biuf"):
        raise PublishError(f"{name}: not {'int µs UTC' if times else 'numbers'}.")
    if values.shape != (length(rows),):
        raise PublishError(f"{name}: {length(rows)} rows, but the shape is {values.shape}.")


@contextmanager
def told_in_words() -> Iterator[None]:
    """What the manifest's schema refuses becomes a ``PublishError`` that says where."""
    try:
        yield
    except ValidationError as wrong:
        said = [_in_words(one["loc"], one["msg"]) for one in wrong.errors()]
        raise PublishError("; ".join(said)) from None


def _in_words(place: Sequence[int | str], said: str) -> str:
    if place == ("model",):
        return f"name: {NAME_RULE}"
    said = said.removeprefix("Value error, ")
    return f"{'.'.join(map(str, place))}: {said}".removeprefix(": ")


def plain_parameters(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Hyperparameters as JSON has them; what it has not (an estimator in a pipeline) by its text,
    a fraction that is not finite too."""
    return {str(name): _plain(value) for name, value in parameters.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Mapping):
        return plain_parameters(value)
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if value is None or isinstance(value, bool | int | str):
        return value
    return value if isinstance(value, float) and np.isfinite(value) else str(value)


def check_classes(
    task: Literal["classification", "regression"],
    post_processing: PostProcessing,
    labels: npt.NDArray[np.float64],
    width: int,
) -> None:
    """Raises ``PublishError`` where labels and names do not fit the model's ``width`` outputs."""
    if task == "regression":
        return
    many = max(width, np.unique(labels).size) > 2
    if many and post_processing.of_one_score():
        raise PublishError(
            "Calibration, clipping and a threshold are of two classes; here are more."
        )
    if not np.isin(labels, np.arange(width)).all():
        raise PublishError(
            f"The model tells {width} classes apart; their labels are 0 to {width - 1}, in the "
            f"order of its classes, but {_some(labels)} are given."
        )
    names = post_processing.labels
    if names and len(names) != width:
        raise PublishError(f"{len(names)} names are given in labels, for {width} classes.")
    if len(set(names)) < len(names):
        raise PublishError(f"Two classes have the same name in labels: {', '.join(names)}.")


def _some(labels: npt.NDArray[np.float64]) -> str:
    return ", ".join(f"{label:g}" for label in np.unique(labels)[:5])
