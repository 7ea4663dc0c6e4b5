from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from contracts.manifest import InputColumn
from leadline.publish.rows import codes, matrix, rows_of
from tests.leadline.publish.flowers import COLOURS, INPUTS, flowers

ROWS = flowers().rows


@pytest.mark.parametrize(
    "frame",
    [pd.DataFrame(dict(ROWS)), pl.DataFrame(dict(ROWS)), pa.table(dict(ROWS)), ROWS],
    ids=["pandas", "polars", "arrow", "mapping"],
)
def test_rows_are_the_same_from_any_kind_of_table(frame: Any) -> None:
    found = rows_of(frame, INPUTS)
    for column in INPUTS:
        values = found[column.name]
        assert values.dtype == (object if column.dtype == "string" else np.float32)
        assert (values == ROWS[column.name]).all() or np.array_equal(
            values, ROWS[column.name], equal_nan=True
        )


@pytest.mark.parametrize("null", [None, float("nan")])
def test_null_text_is_none(null: Any) -> None:
    frame = pd.DataFrame({"colour": ["red", null]}, dtype=object)
    assert rows_of(frame, INPUTS[3:])["colour"].tolist() == ["red", None]


def test_null_numbers_are_nan() -> None:
    table = pa.table(
        {"length": [1.5, None], "width": [1, None], "petals": [1, 2], "colour": ["", ""]}
    )
    found = rows_of(table, INPUTS)
    assert np.isnan(found["length"][1])
    assert np.isnan(found["width"][1])


def test_what_is_not_a_category_is_nan() -> None:
    given = np.array(["red", "green", None, ""], dtype=object)
    assert np.array_equal(
        codes(given, COLOURS), np.array([1, np.nan, np.nan, np.nan], np.float32), equal_nan=True
    )


def test_a_matrix_has_the_columns_in_the_order_asked_for() -> None:
    names = ["petals", "colour"]
    found = matrix(ROWS, names, {"colour": COLOURS})
    assert found.shape == (2000, 2)
    assert found.dtype == np.float32
    assert (found[:, 0] == ROWS["petals"]).all()


def test_nulls_of_pandas_own_dtypes_are_nulls() -> None:
    frame = pd.DataFrame(
        {
            "colour": pd.array(["red", None], dtype="string"),
            "length": pd.array([1, None], dtype="Int64"),
        }
    )
    found = rows_of(frame, [INPUTS[3], INPUTS[0]])
    assert found["colour"].tolist() == ["red", None]
    assert np.isnan(found["length"][1])


@pytest.mark.parametrize(
    ("dtype", "values"),
    [
        ("int64", [1.0, np.nan]),
        ("int32", [0.5]),
        ("int32", [2**40]),
        ("bool", [2]),
        ("float32", ["x"]),
        ("string", [1.0, np.nan]),
    ],
)
def test_a_value_that_its_dtype_does_not_hold_is_refused_by_name(
    dtype: Any, values: list[Any]
) -> None:
    column = InputColumn(name="x", dtype=dtype, source="request:x")
    with pytest.raises(ValueError, match=r"^x holds"):
        rows_of({"x": values}, [column])
