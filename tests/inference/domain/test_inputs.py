"""Missing values follow each input's policy; the rest goes to the model bit for bit."""

from typing import Any

import numpy as np
import pytest

from contracts.manifest import InputColumn, Manifest, Tensors
from contracts.served import OUTCOMES, STATUSES
from inference.domain.inputs import InputPlan
from tests.inference.parts import Column

STATUS = {name: index for index, name in enumerate(STATUSES)}


def plan_of(*columns: InputColumn, layout: str = "columns", functions: Any = ()) -> InputPlan:
    tensors = Tensors.model_validate({"layout": layout})
    manifest = Manifest(model="m", task="classification", tensors=tensors, inputs=columns)
    return InputPlan(manifest, frozenset(functions))


def found(values: Any, *statuses: str) -> Column:
    status = np.array([STATUS[name] for name in statuses], np.uint8)
    return Column(values, status, np.zeros(len(statuses), np.int64))


@pytest.mark.parametrize("missing", ["NULL_VALUE", "NOT_FOUND", "OUTSIDE_MAX_AGE"])
def test_a_missing_number_is_defaulted_passed_on_or_refused(missing: str) -> None:
    def taken(**policy: Any) -> Any:
        column = InputColumn(name="x", dtype="float32", source="v:x", **policy)
        features = {"v:x": found(np.array([1.0, np.nan]), "PRESENT", missing)}
        return plan_of(column).take({}, features, {}, 2)

    defaulted = taken(on_missing="default", default=7.5)
    assert defaulted.numbers.tolist() == [[1.0, 7.5]]
    assert defaulted.statuses.tolist() == [[0, STATUS["DEFAULTED"]]]
    null = taken(on_missing="null")
    assert np.isnan(null.numbers[0, 1])
    assert null.statuses.tolist() == [[0, STATUS[missing]]]
    refused = taken(on_missing="fail")
    assert [OUTCOMES[one] for one in refused.outcome] == ["ok", "feature_missing"]


def test_a_store_that_is_away_stays_visible_through_a_default() -> None:
    column = InputColumn(name="x", dtype="float32", source="v:x", on_missing="default", default=7.5)
    taken = plan_of(column).take({}, None, {}, 2)
    assert taken.numbers.tolist() == [[7.5, 7.5]]
    assert taken.statuses.tolist() == [[STATUS["UNAVAILABLE"]] * 2]


def test_a_nan_that_the_store_holds_is_present_and_one_of_a_function_is_null() -> None:
    columns = [
        InputColumn(name="x", dtype="float64", source="v:x", on_missing="default", default=7.5),
        InputColumn(name="y", dtype="float64", source="on_demand:y"),
    ]
    held = {"v:x": found(np.array([np.nan, 1.0]), "PRESENT", "PRESENT")}
    taken = plan_of(*columns).take({}, held, {"y": np.array([1.0, np.nan])}, 2)
    assert np.isnan(taken.numbers).tolist() == [[True, False], [False, True]]
    assert taken.statuses.tolist() == [[0, 0], [0, STATUS["NULL_VALUE"]]]
    assert not taken.clean


def test_sources_are_told_apart() -> None:
    columns = (
        InputColumn(name="a", dtype="float32", source="v:x"),
        InputColumn(name="b", dtype="int64", source="calendar:hour"),
        InputColumn(name="c", dtype="float64", source="on_demand:hour"),
        InputColumn(name="d", dtype="float64", source="request:distance"),
        InputColumn(name="e", dtype="string", source="request:carrier"),
    )
    plan = plan_of(*columns, functions={"calendar"})
    on_demand = {"calendar:hour": np.array([5]), "hour": np.array([6])}
    request: Any = {"distance": np.array([2.5]), "carrier": ["UA"]}
    taken = plan.take(request, {"v:x": found(np.array([1.5]), "PRESENT")}, on_demand, 1)
    feeds = plan.feeds(taken)
    assert {name: tensor.tolist() for name, tensor in feeds.items()} == {
        "a": [[1.5]], "b": [[5]], "c": [[6.0]], "d": [[2.5]], "e": [["UA"]],
    }  # fmt: skip
    assert [feeds[name].dtype for name in "abcd"] == ["float32", "int64", "float64", "float64"]
    assert plan.refs == {"a": "v:x"}
    assert taken.clean


def test_a_matrix_stacks_its_columns_in_order() -> None:
    columns = [InputColumn(name=n, dtype="float32", source=f"request:{n}") for n in ("x", "y")]
    plan = plan_of(*columns, layout="matrix")
    taken = plan.take({"x": np.array([1.0, 2.0]), "y": np.array([3.0, 4.0])}, {}, {}, 2)
    (matrix,) = plan.feeds(taken).values()
    assert matrix.tolist() == [[1.0, 3.0], [2.0, 4.0]]
    assert matrix.dtype == np.float32
    assert matrix.flags.c_contiguous


def test_a_null_text_key_becomes_the_empty_text_and_says_so() -> None:
    plan = plan_of(InputColumn(name="k", dtype="string", source="request:k"))
    taken = plan.take({"k": ["a", None]}, {}, {}, 2)
    assert taken.statuses.tolist() == [[0, STATUS["NULL_VALUE"]]]
    assert plan.feeds(taken)["k"].tolist() == [["a"], [""]]
