"""Fields are taken strictly, by columns, exactly as they would be one by one."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.domain.instances import (
    DTYPES,
    ERRORS_MAX,
    FieldRefused,
    InstanceField,
    InstanceSchema,
)

SCHEMA = InstanceSchema(
    [InstanceField("k", "string", nullable=True), InstanceField("x", "float64")]
)


@pytest.mark.parametrize(
    ("dtype", "value", "expected"),
    [
        ("float64", 1, 1.0),
        ("float64", 1.5, 1.5),
        ("float32", 3e38, 3e38),
        ("int64", -(2**63), -(2**63)),
        ("int32", 2**31 - 1, 2**31 - 1),
        ("bool", True, True),
        ("string", "", ""),
        ("timestamp", "1970-01-01T00:00:01Z", 1_000_000),
        ("timestamp", "1970-01-01T01:00:00.000001+01:00", 1),
        ("timestamp", "1969-12-31T23:59:59.999999Z", -1),
    ],
)
def test_a_value_that_fits_is_taken(dtype: str, value: Any, expected: Any) -> None:
    assert InstanceField("x", dtype).take({"x": value}) == expected


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        ("float64", True),
        ("float64", "1.5"),
        ("float64", None),
        ("float64", 10**400),
        ("float64", float("inf")),
        ("float32", 1e39),
        ("int64", 1.0),
        ("int64", True),
        ("int64", 2**63),
        ("int32", 2**31),
        ("bool", 1),
        ("string", 1),
        ("string", "x" * 5_000),
        ("timestamp", "2013-12-01T00:00:00"),
        ("timestamp", "yesterday"),
        ("timestamp", 0),
    ],
)
def test_a_value_that_does_not_fit_is_refused(dtype: str, value: Any) -> None:
    field = InstanceField("x", dtype)
    with pytest.raises(FieldRefused):
        field.take({"x": value})
    with pytest.raises(FieldRefused):
        field.whole((value,))


anything = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just([1])
)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(sorted(DTYPES)), st.booleans(), st.lists(anything, min_size=1, max_size=6))
def test_a_column_is_taken_as_its_values_are(dtype: str, nullable: bool, values: list[Any]) -> None:
    field = InstanceField("x", dtype, nullable)
    try:
        expected = [field.take({"x": value}) for value in values]
    except FieldRefused:
        with pytest.raises(FieldRefused):
            field.whole(tuple(values))
        return
    assert list(field.whole(tuple(values))) == expected


rows: Any = st.lists(
    st.dictionaries(st.sampled_from(["k", "x", "y"]), anything, max_size=3) | st.just([]),
    min_size=1,
    max_size=5,
)


@settings(max_examples=200, deadline=None)
@given(rows)
def test_errors_are_named_exactly_when_columns_cannot_be_taken(rows: list[Any]) -> None:
    errors = SCHEMA.errors(rows)
    try:
        SCHEMA.columns(rows)
        taken = True
    except (FieldRefused, KeyError, TypeError):
        taken = False
    assert taken == (not errors)


WIDE = InstanceSchema(
    [
        InstanceField("k", "string", nullable=True),
        InstanceField("x", "float64"),
        InstanceField("y", "float32"),
        InstanceField("n", "int64"),
    ]
)
number = st.floats(-1e39, 1e39) | st.integers(-(10**40), 10**40) | st.just(10**400) | st.booleans()
wide_rows = st.lists(
    st.fixed_dictionaries(
        {"k": st.none() | st.text(max_size=3), "x": number, "y": number, "n": st.integers()}
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=200, deadline=None)
@given(wide_rows)
def test_floats_taken_all_at_once_are_what_they_are_one_by_one(rows: list[Any]) -> None:
    try:
        expected = {one.name: [one.take(row) for row in rows] for one in WIDE.fields}
    except FieldRefused:
        with pytest.raises(FieldRefused):
            WIDE.columns(rows)
        return
    assert {name: list(values) for name, values in WIDE.columns(rows).items()} == expected


@given(st.integers(0, 99), st.sampled_from(["a", "b"]), st.sampled_from([True, False, None, "1"]))
def test_one_odd_value_among_many_floats_is_found(place: int, name: str, odd: Any) -> None:
    schema = InstanceSchema([InstanceField("a", "float64"), InstanceField("b", "float32")])
    rows: list[dict[str, Any]] = [{"a": float(i), "b": i / 3} for i in range(100)]
    rows[place][name] = odd
    with pytest.raises(FieldRefused):
        schema.columns(rows)
    assert [(one.row, one.field) for one in schema.errors(rows)] == [(place, name)]


def test_no_more_than_twenty_errors_are_listed_and_none_shows_a_value() -> None:
    errors = SCHEMA.errors([{"k": "secret", "x": "secret"}] * 50)
    assert len(errors) == ERRORS_MAX
    assert errors[3].as_json() == {"pointer": "/instances/3/x", "code": "wrong-type"}
    assert "secret" not in str([error.as_json() for error in errors])
