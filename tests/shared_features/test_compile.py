"""A service compiles to what both paths read, and to a fingerprint of all that decides values."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared_features import (
    Aggregate,
    Catalogue,
    DefinitionError,
    Entity,
    FeatureService,
    FeatureView,
    MissingField,
    Source,
    UnknownRef,
    WindowView,
    load_catalogue,
    on_demand,
)

AIRPORT = Entity("airport", {"airport": "string"})
WEATHER = FeatureView("weather", AIRPORT, {"temp": "float64", "wind": "float64"})


@on_demand(inputs=["weather:temp"], request={"distance": "int64"}, outputs={"cold_km": "float64"})
def trip(columns: dict[str, Any]) -> dict[str, Any]:
    return {"cold_km": np.where(columns["weather:temp"] < 0, columns["distance"], 0.0)}


def _service(*refs: str, **aliases: dict[str, str]) -> FeatureService:
    return FeatureService("s", refs, aliases)


def test_an_alias_reads_the_same_view_by_another_field() -> None:
    refs = ("weather:temp", "weather@dest:temp", "weather@via:wind")
    compiled = Catalogue([WEATHER, _service(*refs, dest={"airport": "dest"})]).compile("s")
    assert [read.key_columns for read in compiled.reads] == [
        ("airport",),
        ("dest",),
        ("via_airport",),
    ]
    assert compiled.refs == refs


def test_inputs_of_a_function_are_read_without_being_listed() -> None:
    compiled = Catalogue([WEATHER, trip, _service("trip:cold_km")]).compile("s")
    assert [feature.ref for feature in compiled.inputs] == ["weather:temp"]
    assert compiled.request_fields == {"distance": "int64"}
    given = {"weather:temp": np.array([-1.0, np.nan]), "distance": np.array([7, 8])}
    assert compiled.on_demand[0](given)["cold_km"].tolist() == [7.0, 0.0]


def test_a_function_names_the_field_it_lacks() -> None:
    with pytest.raises(MissingField, match="'distance'"):
        trip({"weather:temp": np.array([1.0])})


def test_a_function_that_gives_too_little_is_our_definition_error() -> None:
    @on_demand(request={"x": "int64"}, outputs={"y": "int64"})
    def short(columns: dict[str, Any]) -> dict[str, Any]:
        return {"y": columns["x"][:1]}

    with pytest.raises(DefinitionError, match="2 rows"):
        short({"x": np.array([1, 2])})


@pytest.mark.parametrize("ref", ["weather", "weather:", ":temp", "weather@:temp", "a:b:c"])
def test_what_is_no_ref_is_refused(ref: str) -> None:
    with pytest.raises(DefinitionError, match="view:feature"):
        Catalogue([WEATHER]).compile_refs([ref])


@pytest.mark.parametrize("ref", ["nowhere:temp", "weather:snow", "trip:other"])
def test_an_unknown_ref_is_named(ref: str) -> None:
    with pytest.raises(UnknownRef):
        Catalogue([WEATHER, trip]).compile_refs([ref])


def test_a_ref_twice_would_be_one_column_and_is_refused() -> None:
    with pytest.raises(DefinitionError, match="two columns"):
        Catalogue([WEATHER]).compile_refs(["weather:temp", "weather:temp"])


def _view(**changes: Any) -> FeatureView:
    return FeatureView(**{"name": "v", "entity": AIRPORT, "features": {"x": "int64"}, **changes})


def _lagged() -> FeatureView:
    source = Source("v", {"airport": "string", "x": "int64"}, availability_lag=timedelta(0))
    return _view(source=source)


def _printed(view: FeatureView) -> str:
    return Catalogue([view]).compile_refs(["v:x"]).fingerprint


@pytest.mark.parametrize(
    "change",
    [
        lambda: _view(max_age=timedelta(hours=1)),
        lambda: _view(features={"x": "float64"}),
        lambda: _view(entity=Entity("airport", {"airport": "int64"})),
        _lagged,
    ],
)
def test_what_decides_values_changes_the_fingerprint(change: Callable[[], FeatureView]) -> None:
    assert _printed(change()) != _printed(_view())


def test_what_is_only_said_about_a_view_does_not_change_the_fingerprint() -> None:
    assert _printed(_view(description="text", owner="me")) == _printed(_view())


def test_two_different_views_of_one_name_are_refused() -> None:
    with pytest.raises(DefinitionError, match="two different"):
        Catalogue([_view(), _view(max_age=timedelta(1))])


def test_one_key_field_cannot_have_two_dtypes() -> None:
    other = FeatureView("other", Entity("other", {"airport": "int64"}), {"y": "int64"})
    with pytest.raises(DefinitionError, match="alias"):
        Catalogue([WEATHER, other]).compile_refs(["weather:temp", "other:y"])


def test_definitions_load_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "from shared_features import *\n"
        "user = Entity('user', {'user_id': 'int64'})\n"
        "age = FeatureView('profile', user, {'age': 'int64'})\n"
        "s = FeatureService('s', ['profile:age'])\n"
    )
    assert load_catalogue([str(file)]).compile("s").entity_columns == {"user_id": "int64"}


def test_a_module_that_is_not_there_is_named() -> None:
    with pytest.raises(DefinitionError, match="no_such_module"):
        load_catalogue(["no_such_module"])


def test_the_description_covers_every_definition() -> None:
    arrivals = Source("arrivals", {"airport": "string", "late": "int64"})
    window = WindowView("w", AIRPORT, arrivals, timedelta(days=7), {"n": Aggregate.count()})
    described = Catalogue([WEATHER, window, trip, _service("w:n", "trip:cold_km")]).describe()
    assert set(described["views"]) == {"weather", "w"}
    assert described["views"]["w"]["window_us"] == 7 * 24 * 3600 * 10**6
    assert set(described["sources"]) == {"weather", "arrivals"}
    assert described["services"]["s"]["refs"] == ["w:n", "trip:cold_km"]
