"""Rows as every step of publishing hands them on: one numpy column a model input."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from contracts.manifest import InputColumn

Rows = Mapping[str, npt.NDArray[Any]]
"""By input name, each [n]: numbers as the input's dtype (null is NaN), text as str or None."""
Floats = npt.NDArray[np.float64]
Scores = npt.NDArray[np.float64]
"""[n, outputs]: class probabilities, or one regression value."""

_DTYPES: dict[str, Any] = {
    "float32": np.float32,
    "float64": np.float64,
    "int64": np.int64,
    "int32": np.int32,
    "bool": np.bool_,
    "string": object,
}


def rows_of(frame: Any, inputs: Sequence[InputColumn]) -> dict[str, npt.NDArray[Any]]:
    """The inputs' columns of a pandas, polars or Arrow table or a mapping, in the inputs' dtypes.

    Raises ``KeyError`` naming every column that is absent.
    """
    missing = [column.name for column in inputs if column.name not in _names(frame)]
    if missing:
        raise KeyError(f"the sample has no column {', '.join(missing)}")
    return {column.name: _column(frame[column.name], column.dtype) for column in inputs}


def length(rows: Rows) -> int:
    """How many rows there are."""
    return len(next(iter(rows.values())))


def take(rows: Rows, index: npt.NDArray[Any] | slice) -> dict[str, npt.NDArray[Any]]:
    """The rows at those positions (or where a mask is true)."""
    return {name: values[index] for name, values in rows.items()}


def stack(parts: Sequence[Rows]) -> dict[str, npt.NDArray[Any]]:
    """One after the other."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def codes(values: npt.NDArray[Any], categories: Sequence[str]) -> npt.NDArray[np.float32]:
    """Position of each value among the categories; NaN for null and for what is not among them."""
    position = {category: float(index) for index, category in enumerate(categories)}
    return np.array([position.get(value, np.nan) for value in values.tolist()], np.float32)


def matrix(
    rows: Rows, names: Sequence[str], categories: Mapping[str, Sequence[str]]
) -> npt.NDArray[np.float32]:
    """[n, names] in that order; text becomes its category's position."""
    columns = [
        codes(rows[name], categories[name]) if name in categories else rows[name] for name in names
    ]
    return np.ascontiguousarray(np.column_stack(columns), dtype=np.float32)


def _names(frame: Any) -> list[str]:
    """Column names of Arrow (``column_names``), pandas and polars (``columns``), or a mapping."""
    for attribute in ("column_names", "columns"):
        if hasattr(frame, attribute):
            return list(getattr(frame, attribute))
    return list(frame)


def _column(values: Any, dtype: str) -> npt.NDArray[Any]:
    array = np.asarray(values.to_numpy() if hasattr(values, "to_numpy") else values)
    if dtype == "string":
        # pandas writes a missing text as NaN.
        texts = [
            None if value is None or isinstance(value, float) else str(value) for value in array
        ]
        return np.array(texts, dtype=object)
    if array.dtype == object:
        array = np.array([np.nan if value is None else value for value in array])
    return array.astype(_DTYPES[dtype])
