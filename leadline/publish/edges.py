"""Rows at the edges of what a model can be asked, one input changed at a time."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from contracts.manifest import InputColumn
from leadline.publish.rows import Floats, Rows, length, take

UNSEEN = "never seen in training"
THRESHOLDS_MAX = 2_000
"""Splits tried an input; more are thinned evenly."""
CATEGORIES_MAX = 200
NULL_ROWS = 200
"""Rows tried with a null, and with an unseen text: whether the two agree there depends on the rest
of the row, so a few would agree by luck."""


@dataclass(frozen=True, slots=True)
class EdgeCase:
    """Rows of one kind: ``null``, ``unseen_category``, ``category``, ``range`` or ``threshold``."""

    kind: str
    rows: Rows


def edge_cases(
    rows: Rows, inputs: Sequence[InputColumn], thresholds: Mapping[str, Floats], seed: int = 0
) -> Iterator[EdgeCase]:
    """Edge rows made from real ``rows``, which are drawn with that seed."""
    random = np.random.default_rng(seed)
    for column in inputs:
        for kind, values in _values(column, rows[column.name], thresholds.get(column.name)):
            if len(values):
                base = take(rows, random.integers(0, length(rows), len(values)))
                base[column.name] = values
                yield EdgeCase(kind, base)
    if nullable := [column for column in inputs if may_be_null(column)]:
        drawn = random.integers(0, length(rows), NULL_ROWS)
        yield EdgeCase(
            "null", {**take(rows, drawn), **{c.name: _nulls(c, NULL_ROWS) for c in nullable}}
        )


def may_be_null(column: InputColumn) -> bool:
    """Whether serving can hand the model a null there: a looked-up or computed value without a
    policy that replaces it. Request fields are never null."""
    return (
        column.on_missing == "null"
        and not column.source.startswith("request:")
        and column.dtype in {"float32", "float64", "string"}
    )


def _values(
    column: InputColumn, sample: npt.NDArray[Any], thresholds: Floats | None
) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    if may_be_null(column):
        yield "null", _nulls(column, NULL_ROWS)
    if column.dtype == "string":
        seen = sorted({value for value in sample.tolist() if value is not None})
        yield "unseen_category", np.array([UNSEEN, ""] * (NULL_ROWS // 2), dtype=object)
        yield "category", np.array(seen[:CATEGORIES_MAX], dtype=object)
        return
    if column.dtype == "bool":
        yield "range", np.array([False, True])
        return
    yield "range", _range(sample)
    if thresholds is not None:
        yield "threshold", _around(thresholds).astype(sample.dtype)


def _nulls(column: InputColumn, rows: int) -> npt.NDArray[Any]:
    if column.dtype == "string":
        return np.array([None] * rows, dtype=object)
    return np.full(rows, np.nan, np.float64 if column.dtype == "float64" else np.float32)


def _range(sample: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The smallest and largest value seen, one span beyond either, zero of both signs."""
    finite = sample[np.isfinite(sample)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    span = max(high - low, 1.0)
    return np.array([low, high, low - span, high + span, 0.0, -0.0]).astype(sample.dtype)


def _around(thresholds: Floats) -> Floats:
    """Each threshold as a float32 and its two neighbours."""
    every = max(1, -(-len(thresholds) // THRESHOLDS_MAX))
    at = thresholds[::every].astype(np.float32)
    up, down = (np.nextafter(at, np.float32(way)) for way in (np.inf, -np.inf))
    return np.concatenate([at, up, down]).astype(np.float64)
