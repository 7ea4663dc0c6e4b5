from typing import Any

import pytest

from contracts.fillable import unfillable
from contracts.manifest import InputColumn, Manifest, Tensors

SERVICE = {
    "features": [
        {"ref": "stats:mean", "dtype": "float64"},
        {"ref": "stats:city", "dtype": "string"},
    ],
    "on_demand": {
        "calendar": {
            "name": "calendar",
            "inputs": ["stats:total"],
            "request": {"at": "timestamp"},
            "outputs": {"hour": "float64"},
        }
    },
}


def _manifest(*inputs: dict[str, Any], **changes: Any) -> Manifest:
    return Manifest(
        model="m",
        task="regression",
        inputs=tuple(InputColumn(**{"name": "x", "dtype": "float32", **one}) for one in inputs),
        tensors=Tensors(layout="columns", value="value"),
        **{
            "entity_keys": ("account",),
            "request_fields": {"amount": "float64", "plan": "string"},
            "feature_service": "s",
            "feature_service_json": SERVICE,
            **changes,
        },
    )


@pytest.mark.parametrize(
    ("source", "dtype"),
    [
        ("request:amount", "float32"),
        ("request:at", "float64"),
        ("request:plan", "string"),
        ("request:account", "string"),
        ("stats:mean", "float32"),
        ("stats:city", "string"),
        ("stats:total", "float32"),
        ("calendar:hour", "float32"),
        ("on_demand:hour", "float32"),
    ],
)
def test_what_is_given_can_be_taken(source: str, dtype: str) -> None:
    assert unfillable(_manifest({"source": source, "dtype": dtype})) == []


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("request:amuont", "x: request_fields has no amuont"),
        ("stats:median", "x: the feature service s has no stats:median"),
        ("on_demand:minute", "x: the feature service s has no on_demand:minute"),
        ("request:plan", "x: request:plan is string, not float32"),
        ("stats:city", "x: stats:city is string, not float32"),
    ],
)
def test_what_nothing_gives_is_named(source: str, said: str) -> None:
    assert unfillable(_manifest({"source": source})) == [said]


def test_without_a_feature_service_nothing_is_looked_up() -> None:
    manifest = _manifest({"source": "stats:mean"}, feature_service=None, feature_service_json=None)
    assert unfillable(manifest) == ["x: stats:mean is looked up, but there is no feature_service"]


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ({"on_missing": "default"}, "needs a default"),
        ({"on_missing": "default", "default": "zero"}, "'zero' is no float32"),
        ({"on_missing": "default", "default": True}, "True is no float32"),
        ({"dtype": "int64"}, "int64 has no null"),
        ({"dtype": "int64", "on_missing": "default", "default": 0.5}, "0.5 is no int64"),
    ],
)
def test_what_stands_in_for_a_missing_value_fits(policy: dict[str, Any], said: str) -> None:
    (fault,) = unfillable(_manifest({"source": "stats:mean", **policy}))
    assert said in fault


@pytest.mark.parametrize(
    "policy",
    [
        {"on_missing": "default", "default": 0},
        {"on_missing": "default", "default": -1.5},
        {"dtype": "int64", "on_missing": "default", "default": 3},
        {"dtype": "int64", "on_missing": "fail"},
        {"dtype": "bool", "on_missing": "default", "default": False},
    ],
)
def test_a_fitting_stand_in_is_taken(policy: dict[str, Any]) -> None:
    assert unfillable(_manifest({"source": "stats:mean", **policy})) == []


@pytest.mark.parametrize("service", [{}, {"features": 1, "on_demand": {}}, {"features": [{}]}])
def test_a_service_that_was_not_compiled_is_a_fault(service: dict[str, Any]) -> None:
    manifest = _manifest({"source": "stats:mean"}, feature_service_json={"name": "s", **service})
    assert unfillable(manifest) == ["feature_service_json is no compiled feature service"]


def test_a_unit_that_an_instance_need_not_bring_is_told() -> None:
    for known in ("account", "plan", "at"):
        assert unfillable(_manifest({"source": "request:amount"}, unit_key=(known,))) == []
    (fault,) = unfillable(_manifest({"source": "request:amount"}, unit_key=("acount",)))
    assert "unit_key: acount is no entity key and no request field" in fault
