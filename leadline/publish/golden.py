"""Chooses the golden rows: a spread of real answers and the edges, as the original gave them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from contracts.golden import GoldenSet, GoldenTensor
from contracts.manifest import Dtype, InputColumn
from leadline.publish.edges import edge_cases
from leadline.publish.graph import feeds_of
from leadline.publish.original import Original
from leadline.publish.parity import plain
from leadline.publish.rows import Rows, length, stack, take

REAL_ROWS = 48
EDGE_ROWS = 16
_KINDS: Mapping[str, Dtype] = {"f4": "float32", "f8": "float64", "i8": "int64", "i4": "int32"}


def golden_set(
    original: Original,
    rows: Rows,
    inputs: Sequence[InputColumn],
    *,
    tolerance: float,
    input_name: str = "input",
    takes_null: bool = True,
) -> GoldenSet:
    """Rows spread evenly over the original's scores, then a few edge rows."""
    few = take(rows, np.arange(min(length(rows), 5_000)))
    order = np.argsort(original.score(few)[:, -1], kind="stable")
    chosen = order[np.linspace(0, len(order) - 1, min(REAL_ROWS, len(order))).astype(int)]
    edges = [
        take(case.rows, slice(0, 1))
        for case in edge_cases(few, inputs, {})
        if takes_null or case.kind != "null"
    ]
    picked = stack([take(few, np.unique(chosen)), *edges[-EDGE_ROWS:]])
    answers = original.score(picked).astype(np.float32)
    feeds = feeds_of(picked, inputs, original.layout, input_name)
    return GoldenSet(
        rows=length(picked),
        inputs={name: _tensor(values) for name, values in feeds.items()},
        outputs={original.output: _tensor(answers)},
        tolerance=tolerance,
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
