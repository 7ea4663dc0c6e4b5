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

    Raises ``KeyError`` naming every column that is absent, ``ValueError`` naming one whose values
    are not of its dtype.
    """
    names = _names(frame)
    missing = [column.name for column in inputs if column.name not in names]
    if missing:
        raise KeyError(f"there is no column {', '.join(missing)}")
    return {column.name: _column(frame[column.name], column) for column in inputs}


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
    if isinstance(frame, np.ndarray | list | tuple):
        raise ValueError("an array's columns have no names: give a data frame or {name: values}")
    if frame is None:
        raise ValueError("there is none: give a data frame or {name: values}")
    for attribute in ("column_names", "columns"):
        if hasattr(frame, attribute):
            return list(getattr(frame, attribute))
    if not isinstance(frame, Mapping):
        raise ValueError("these are no rows: give a data frame or {name: values}")
    return list(frame)


def _column(values: Any, column: InputColumn) -> npt.NDArray[Any]:
    array = np.asarray(values.to_numpy() if hasattr(values, "to_numpy") else values)
    if column.dtype == "string":
        texts = [None if _is_null(value) else value for value in array]
        if any(isinstance(text, float) for text in texts):
            raise ValueError(f"{column.name} holds fractions, which are no text: write them as one")
        return np.array([None if text is None else str(text) for text in texts], dtype=object)
    if array.dtype == object:
        array = np.array([np.nan if _is_null(value) else value for value in array])
    try:
        with np.errstate(invalid="ignore"):
            taken = array.astype(_DTYPES[column.dtype])
    except (ValueError, TypeError):
        raise ValueError(f"{column.name} holds what is no {column.dtype}") from None
    if taken.dtype.kind in "ib" and array.dtype.kind in "fiu" and not (taken == array).all():
        raise ValueError(f"{column.name} holds nulls, fractions or too much for {column.dtype}")
    return taken


def _is_null(value: Any) -> bool:
    """None, NaN, and the null of pandas' own dtypes."""
    if isinstance(value, float):
        return bool(np.isnan(value))
    return value is None or type(value).__name__ == "NAType"
