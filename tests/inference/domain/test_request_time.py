"""Request-time features run on whole batches; a row that breaks a function answers for itself."""

from typing import Any

import numpy as np

from inference.domain.request_time import RequestTime
from shared_features.catalogue import Catalogue
from shared_features.definitions import Entity, FeatureService, FeatureView
from shared_features.on_demand import on_demand
from tests.inference.parts import Column

ACCOUNT = Entity("account", {"account": "string"})
STATS = FeatureView("stats", ACCOUNT, {"limit": "float64", "tier": "string"})


@on_demand(
    inputs=("stats:limit", "stats:tier"),
    request={"amount": "float64", "at": "timestamp"},
    outputs={"share": "float64", "hour": "int64", "label": "string"},
)
def spending(columns: dict[str, Any]) -> dict[str, Any]:
    if (columns["amount"] < 0).any():
        raise ValueError("a negative amount")
    hour = columns["at"] // 3_600_000_000 % 24
    label = np.array([f"{tier}!" for tier in columns["stats:tier"]], object)
    return {"share": columns["amount"] / columns["stats:limit"], "hour": hour, "label": label}


SERVICE = Catalogue(
    [
        ACCOUNT,
        STATS,
        spending,
        FeatureService("s", ("spending:share", "spending:hour", "spending:label")),
    ]
).compile("s")


def found(values: Any) -> Column:
    rows = len(values)
    return Column(values, np.zeros(rows, np.uint8), np.zeros(rows, np.int64))


def compute(amounts: list[float]) -> Any:
    rows = len(amounts)
    request: Any = {"amount": np.array(amounts), "at": [7_200_000_000] * rows}
    features = {"stats:limit": found(np.full(rows, 10.0)), "stats:tier": found(["a"] * rows)}
    return RequestTime(SERVICE).compute(request, features, rows)


def test_a_batch_is_computed_in_one_call() -> None:
    outputs, failed = compute([1.0, 2.0])
    assert failed is None
    assert outputs["spending:share"].tolist() == [0.1, 0.2]
    assert outputs["hour"].tolist() == [2, 2]
    assert outputs["spending:label"].tolist() == ["a!", "a!"]


def test_a_row_that_breaks_the_function_leaves_its_neighbours_alone() -> None:
    outputs, failed = compute([1.0, -2.0, 3.0])
    assert failed is not None
    assert failed.tolist() == [False, True, False]
    assert outputs["spending:share"][[0, 2]].tolist() == [0.1, 0.3]
    assert np.isnan(outputs["spending:share"][1])
    assert outputs["spending:label"].tolist() == ["a!", None, "a!"]


def test_a_store_that_is_away_gives_its_functions_nulls() -> None:
    request: Any = {"amount": np.array([1.0]), "at": [0]}
    outputs, failed = RequestTime(SERVICE).compute(request, None, 1)
    assert failed is None
    assert np.isnan(outputs["spending:share"][0])
