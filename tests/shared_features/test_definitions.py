"""Definitions refuse what could not be served, and say how to mend it."""

import subprocess
import sys
from datetime import timedelta

import pytest

from shared_features import (
    Aggregate,
    CalendarWindow,
    DefinitionError,
    Entity,
    FeatureView,
    Source,
    WindowView,
)

PLANE = Entity("plane", {"tailnum": "string"})
ARRIVALS = Source("arrivals", {"tailnum": "string", "delay": "int64", "note": "string"})


def test_a_view_without_a_source_is_its_own() -> None:
    view = FeatureView("profile", PLANE, {"age": "int64"})
    assert view.source.name == "profile"
    assert dict(view.source.columns) == {"tailnum": "string", "age": "int64"}


@pytest.mark.parametrize("name", ["", "Upper", "1st", "a-b", "a:b", "a__b", "x" * 64])
def test_a_name_that_could_not_be_a_column_is_refused(name: str) -> None:
    with pytest.raises(DefinitionError, match="Entity"):
        Entity(name, {"k": "string"})


def test_a_float_is_no_key() -> None:
    with pytest.raises(DefinitionError, match="float64"):
        Entity("place", {"latitude": "float64"})


def test_a_view_of_another_dtype_than_its_source_is_refused_with_the_fix() -> None:
    with pytest.raises(DefinitionError, match=r"FeatureView 'v'.*'delay'.*Add the column"):
        FeatureView("v", PLANE, {"delay": "float64"}, ARRIVALS)


def test_a_source_must_carry_the_keys_of_the_entity() -> None:
    with pytest.raises(DefinitionError, match="lacks the key 'tailnum'"):
        FeatureView("v", PLANE, {"x": "int64"}, Source("s", {"x": "int64"}))


def test_a_row_field_is_no_column() -> None:
    with pytest.raises(DefinitionError, match="event_time"):
        Source("s", {"event_time": "timestamp"})


def test_a_negative_lag_would_leak_and_is_refused() -> None:
    with pytest.raises(DefinitionError, match="before they were known"):
        Source("s", {"x": "int64"}, availability_lag=timedelta(seconds=-1))


def test_a_sum_of_strings_is_refused() -> None:
    with pytest.raises(DefinitionError, match="'note'"):
        WindowView("w", PLANE, ARRIVALS, timedelta(days=1), {"s": Aggregate.sum("note")})


def test_a_window_of_no_length_is_refused() -> None:
    with pytest.raises(DefinitionError, match="not positive"):
        WindowView("w", PLANE, ARRIVALS, timedelta(0), {"n": Aggregate.count()})


def test_a_calendar_window_names_a_zone_that_exists() -> None:
    with pytest.raises(DefinitionError, match="Mars"):
        CalendarWindow("w", PLANE, ARRIVALS, "day", "Mars/Olympus", {"n": Aggregate.count()})


def test_defining_features_imports_no_heavy_library() -> None:
    code = (
        "import sys, shared_features; heavy = {'numpy', 'pyarrow', 'pandas', 'redis', 'pydantic'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
