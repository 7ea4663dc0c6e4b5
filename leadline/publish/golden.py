"""Chooses the golden rows: a spread of real answers and the edges, as the original gave them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from contracts.golden import GoldenSet, GoldenTensor
from contracts.manifest import Dtype, InputColumn
from leadline.publish.edges import edge_cases
from leadline.publish.graph import feeds_of
from leadline.publish.original import PublishError
from leadline.publish.parity import plain
from leadline.publish.rows import Rows, Scores, length, stack, take

REAL_ROWS = 48
EDGE_ROWS = 16
_KINDS: Mapping[str, Dtype] = {"f4": "float32", "f8": "float64", "i8": "int64", "i4": "int32"}


def golden_set(
    output: str,
    layout: Literal["matrix", "columns"],
    score: Callable[[Rows], Scores],
    exported: Callable[[Rows], Scores],
    rows: Rows,
    inputs: Sequence[InputColumn],
    *,
    tolerance: float,
    input_name: str = "input",
) -> GoldenSet:
    """Rows spread evenly over the scores, then a few edge rows; ``score`` answers for them.

    Raises ``PublishError`` where the export does not: no replica would load it.
    """
    few = take(rows, np.arange(min(length(rows), 5_000)))
    order = np.argsort(score(few)[:, -1], kind="stable")
    chosen = order[np.linspace(0, len(order) - 1, min(REAL_ROWS, len(order))).astype(int)]
    edges = [take(case.rows, slice(0, 1)) for case in edge_cases(few, inputs, {})]
    picked = stack([take(few, np.unique(chosen)), *edges[-EDGE_ROWS:]])
    answers = score(picked).astype(np.float32)
    if far := int((~np.isclose(exported(picked), answers, 0, tolerance, equal_nan=True)).sum()):
        raise PublishError(f"The export answers {far} of the golden rows otherwise.")
    _check_alone(exported, picked, answers, tolerance)
    feeds = feeds_of(picked, inputs, layout, input_name)
    return GoldenSet(
        rows=length(picked),
        inputs={name: _tensor(values) for name, values in feeds.items()},
        outputs={output: _tensor(answers)},
        tolerance=tolerance,
    )


def _check_alone(
    exported: Callable[[Rows], Scores],
    picked: Rows,
    answers: npt.NDArray[np.float32],
    tolerance: float,
) -> None:
    """Requests of strangers share a run, so a row's answer may not hang on who else is asked."""
    each = [take(picked, slice(row, row + 1)) for row in range(length(picked))]
    alone = np.concatenate([exported(row) for row in each])
    if far := int((~np.isclose(alone, answers, 0, tolerance, equal_nan=True)).any(axis=1).sum()):
        raise PublishError(
            f"A row's answer depends on the rows beside it: alone, {far} of {len(each)} are "
            "answered otherwise. Requests share a run, so whatever looks across rows (a mean over "
            "the batch, a softmax over axis 0, rows[0]) has to become a constant of training."
        )


def _tensor(values: npt.NDArray[Any]) -> GoldenTensor:
    dtype: Dtype = "string"
    if values.dtype == np.bool_:
        dtype = "bool"
    elif values.dtype != object:
        dtype = _KINDS[values.dtype.str[1:]]
    return GoldenTensor(
        dtype=dtype,
        shape=values.shape,
        values=tuple(plain(value) for value in values.reshape(-1)),
    )
