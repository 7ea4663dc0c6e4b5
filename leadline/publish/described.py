"""Is the model what its author says of it? Asked before and after it is converted.

What stands here would otherwise be published and answer wrongly: the parity report compares the
export with the original, and both would be asked in the same wrong way.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from contracts.fillable import policy_fault
from contracts.manifest import InputColumn, PostProcessing
from leadline.publish.original import PublishError
from leadline.publish.rows import Rows, length, rows_of


def check_inputs(inputs: Sequence[InputColumn], categories: Mapping[str, Sequence[str]]) -> None:
    """Raises ``PublishError`` unless each input is named once and may be what it says."""
    if not all(isinstance(column, InputColumn) for column in inputs):
        raise PublishError("inputs are InputColumn(name=…, dtype=…, source=…), one a column.")
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
            f"{length(rows)} validation rows have {labels.size} labels; give one a row."
        )
    if not np.isfinite(labels).all():
        raise PublishError("labels: some are null; leave out the rows that have none.")
    return labels


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


def _some(labels: npt.NDArray[np.float64]) -> str:
    return ", ".join(f"{label:g}" for label in np.unique(labels)[:5])
