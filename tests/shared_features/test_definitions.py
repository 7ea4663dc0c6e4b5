"""Definitions refuse what could not be served, and say how to mend it."""

import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from shared_features import (
    Aggregate,
    CalendarWindow,
    DefinitionError,
    Entity,
    FeatureView,
    Source,
    WindowView,
    load_catalogue,
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


def make_lag(duration: Any) -> object:
    return Source("s", {"x": "int64"}, duration)


def make_age(duration: Any) -> object:
    return FeatureView("v", PLANE, {"delay": "int64"}, ARRIVALS, duration)


def make_window(duration: Any) -> object:
    return WindowView("w", PLANE, ARRIVALS, duration, {"n": Aggregate.count()})


@pytest.mark.parametrize("make", [make_lag, make_age, make_window])
@pytest.mark.parametrize("duration", [5, "7d", timedelta.max])
def test_a_duration_is_a_timedelta_of_at_most_a_century(
    make: Callable[[Any], object], duration: Any
) -> None:
    with pytest.raises(DefinitionError, match=r"no timedelta|longer than a century"):
        make(duration)


def test_an_aggregate_is_one_of_those_there_are() -> None:
    with pytest.raises(DefinitionError, match="'median' is no function"):
        Aggregate("median", "delay")  # type: ignore[arg-type]


def test_a_file_that_is_no_python_is_named_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("x = 1\ndef broken(:\n")
    with pytest.raises(DefinitionError, match=r"mine.py.*line 2 is no Python"):
        load_catalogue([str(file)])


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("Entity('plane', schema={})", r"line 2 raises TypeError: .*schema"),
        ("Entiti('plane')", r"line 2 raises NameError: .*Entiti"),
        ("import no_such_library", r"cannot be imported \(No module named 'no_such_library'\)"),
        ("Entity('plane', keys={})", r"^Entity 'plane': it has no key"),
    ],
)
def test_what_a_file_raises_is_told_with_its_line(tmp_path: Path, line: str, told: str) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "from shared_features import Entity\nplane = Entity('plane', {'tail': 'string'})\n"
    )
    load_catalogue([str(file)])
    loaded = sys.modules["leadline_features_mine"]
    file.write_text(f"from shared_features import Entity\n{line}\n")
    with pytest.raises(DefinitionError, match=told):
        load_catalogue([str(file)], again=True)
    assert sys.modules["leadline_features_mine"] is loaded


def test_what_a_module_raises_is_told_with_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "of_mine.py").write_text("\n\n1 / 0\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DefinitionError, match=r"module 'of_mine': line 3 raises ZeroDivisionError"):
        load_catalogue(["of_mine"])


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


@pytest.mark.parametrize("given", ["views.py", "views"])
def test_definitions_find_their_neighbours_but_those_take_no_librarys_place(
    given: str, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(
        "from shared_features import *\nplane = Entity('plane', {'tail': 'string'})\n"
    )
    (tmp_path / "views.py").write_text(
        "import redis\nfrom mine import *\nage = FeatureView('age', plane, {'years': 'int64'})\n"
    )
    (tmp_path / "redis.py").write_text("raise SystemExit('somebody took the place of a library')")
    load = f"from shared_features import load_catalogue; print(load_catalogue([{given!r}]).views)"
    said = subprocess.run(
        [sys.executable, "-P", "-c", load],
        cwd=tmp_path,
        env={"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "age" in said.stdout, said.stderr
