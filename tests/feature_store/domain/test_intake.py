"""Nothing is coerced that could lose a bit; everything that is refused says why."""

import math
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest

from feature_store.domain.intake import VALUE_BYTES_MAX, parse_value, take_rows, take_table
from feature_store.domain.schema import INSTANT, TIME_US_MAX, TIME_US_MIN
from shared_features import Entity, FeatureView, Source

BIG = (1 << 53) + 1


@pytest.mark.parametrize(
    ("dtype", "value", "taken"),
    [
        ("int64", BIG, BIG),
        ("int64", -(1 << 63), -(1 << 63)),
        ("float64", 1, 1.0),
        ("float64", -0.0, -0.0),
        ("float32", 0.5, 0.5),
        ("string", "", ""),
        ("bool", False, False),
        ("bytes", "AAE=", b"\x00\x01"),
        ("list<int64>", [], []),
        ("timestamp", "1970-01-01T01:00:00.000001+01:00", 1),
        ("timestamp", "0001-01-01T00:00:00Z", TIME_US_MIN),
        ("timestamp", "9999-12-31T23:59:59.999999Z", TIME_US_MAX - 1),
        ("timestamp", datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC), -1),
    ],
)
def test_a_value_that_fits_is_taken_as_it_is(dtype: str, value: Any, taken: Any) -> None:
    found = parse_value(value, dtype, "x")
    assert found == taken
    assert math.copysign(1, found) == math.copysign(1, taken) if dtype == "float64" else True


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        ("int64", True),
        ("int64", 1.5),
        ("int64", 1.0),
        ("int64", "1"),
        ("int64", 1 << 63),
        ("int32", 1 << 31),
        ("float64", BIG),
        ("float64", "1.5"),
        ("float64", True),
        ("float32", 1e300),
        ("bool", 1),
        ("string", 7),
        ("string", "\ud800"),
        ("string", "x" * (1 << 20) + "x"),
        ("bytes", "no base64!"),
        ("list<int64>", [1, None]),
        ("list<int64>", "12"),
        ("timestamp", "2025-03-30T01:30:00"),
        ("timestamp", 1_700_000_000),
        ("timestamp", "yesterday"),
        ("timestamp", "0001-01-01T00:00:00+14:00"),
        ("timestamp", "9999-12-31T23:59:59-01:00"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_by_name_and_never_echoed(
    dtype: str, value: Any
) -> None:
    with pytest.raises(ValueError, match=r"^column ") as refused:
        parse_value(value, dtype, "column")
    assert len(str(refused.value)) < 120


def test_a_null_key_is_set_aside_only_when_it_matches_no_view() -> None:
    source = Source("facts", {"a": "string", "b": "string", "x": "int64"})
    views = [
        FeatureView("by_a", Entity("a", {"a": "string"}), {"x": "int64"}, source),
        FeatureView("by_b", Entity("b", {"b": "string"}), {"x": "int64"}, source),
    ]
    at = "2025-01-01T00:00:00Z"
    rows = [{"a": "1", "x": 1, "event_time": at}, {"x": 1, "event_time": at}]
    intake = take_rows(source, views, rows)
    assert len(intake.table) == 1
    assert [(one.row, "null matches nothing" in one.reason) for one in intake.aside] == [(1, True)]


@pytest.mark.parametrize("row", [None, [], "row", 7, {"event_time": None}, {"deleted": 1}])
def test_what_is_no_row_is_set_aside(row: Any) -> None:
    source = Source("facts", {"x": "int64"})
    assert len(take_rows(source, [], [row]).aside) == 1


@pytest.mark.parametrize("moment", [TIME_US_MIN - 1, TIME_US_MAX, -(1 << 63), (1 << 63) - 1])
@pytest.mark.parametrize("column", ["event_time", "created_time", "born"])
def test_instants_that_no_calendar_holds_are_set_aside_of_a_table(column: str, moment: int) -> None:
    source = Source("facts", {"x": "int64", "born": "timestamp"})
    times = {key: [0, 0] for key in ("event_time", "created_time", "born")}
    times[column] = [0, moment]
    columns = {name: pa.array(both, pa.int64()).cast(INSTANT) for name, both in times.items()}
    intake = take_table(source, [], pa.table({"x": [1, 2], **columns}))
    assert len(intake.table) == 1
    assert [(one.row, one.reason) for one in intake.aside] == [(1, f"{column} is too far from now")]


def test_texts_are_bounded_in_a_table_as_in_json() -> None:
    source = Source("facts", {"s": "string"})
    at = pa.array([0, 0], pa.int64()).cast(INSTANT)
    texts = ["x" * VALUE_BYTES_MAX, "x" * (VALUE_BYTES_MAX + 1)]
    intake = take_table(source, [], pa.table({"s": texts, "event_time": at}))
    assert [(one.row, one.reason) for one in intake.aside] == [(1, "s is longer than 1 MiB")]
