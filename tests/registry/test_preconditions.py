"""What a version is held against before it takes traffic: its callers, and what can judge it."""

from typing import Any

import httpx
import pytest
from onnx import TensorProto, helper

from tests.registry.conftest import (
    SPLIT,
    START,
    doubling_model,
    manifest_of,
    promote,
    publish,
)


async def test_a_version_of_bare_tensors_is_never_left_in_a_shadow_that_scores_nothing(
    client: httpx.AsyncClient,
) -> None:
    told = manifest_of()
    raw = {"model": "delay", "task": "raw", "tensors": {"layout": "raw"}}
    for factor in (2.0, 3.0):
        await publish(client, factor, manifest={**raw, "training": told["training"]})
    await promote(client, "1", "production")
    refused = await promote(client, "2", "shadow")
    assert refused.status_code == 409
    assert "a version of bare tensors cannot be one" in refused.json()["detail"]
    refused = await client.post("/v1/rollouts", json={**START, "plan": {"shadow": {}}})
    assert refused.status_code == 409
    started = await client.post("/v1/rollouts", json={**START, "preset": "careful"})
    assert started.status_code == 201, started.text
    assert started.json()["plan"]["shadow"] is None


def _graph(*inputs: str, width: int = 1, output: str = "value", kind: int = 1) -> bytes:
    """A graph that takes these inputs [n, 1] and gives ``output`` [n, width]."""
    nodes = [
        helper.make_node("Sum", list(inputs), ["sum"]),
        helper.make_node("Concat", ["sum"] * width, ["all"], axis=1),
        helper.make_node("Cast", ["all"], [output], to=kind),
    ]
    taken = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 1]) for name in inputs]
    given = [helper.make_tensor_value_info(output, kind, [None, width])]
    graph = helper.make_graph(nodes, "a_graph", taken, given)
    opsets = [helper.make_opsetid("", 17)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString())


async def _serving(client: httpx.AsyncClient, graphs: list[bytes], **manifest: Any) -> None:
    """A version of each graph; the first is in production."""
    for graph in graphs:
        answer = await publish(
            client, files={"model.onnx": graph}, manifest=manifest_of(**manifest)
        )
        assert answer.status_code == 201, answer.text
    await promote(client, "1", "production")


RAW = {
    "task": "raw", "tensors": {"layout": "raw"}, "inputs": [], "request_fields": {},
    "entity_keys": [],
}  # fmt: skip


@pytest.mark.parametrize(
    ("graph", "said"),
    [
        (_graph("x", "z"), "it wants an input z, which they do not send"),
        (_graph("z"), "it takes no input x"),
        (_graph("x", output="score"), "it gives no output value"),
        (_graph("x", kind=TensorProto.DOUBLE), "it gives value as FP64 [-1, 1], not as FP32"),
        (_graph("x", width=2), "it gives value as FP32 [-1, 2], not as FP32 [-1, 1]"),
    ],
)
async def test_a_version_that_the_callers_of_bare_tensors_could_not_call_is_not_rolled_out(
    client: httpx.AsyncClient, graph: bytes, said: str
) -> None:
    await _serving(client, [_graph("x"), graph], **RAW)
    metrics = [{"name": "errors", "kind": "error_rate", "margin": 0.1}]
    experiment = {"model": "delay", "plan": {**SPLIT, "metrics": metrics}, "reason": "which?"}
    answers = [
        await client.post("/v1/rollouts", json=START),
        await client.post("/v1/experiments", json=experiment),
        await client.post(
            "/v1/models/delay/versions/2/overrides",
            json={"reason": "on my word"}, headers={"if-match": "*"},
        ),
    ]  # fmt: skip
    for answer in answers:
        assert answer.status_code == 409
        assert said in answer.json()["detail"]
    assert (await promote(client, "1", "archived")).status_code == 200
    assert (await promote(client, "2", "production")).status_code == 200  # the way it tells


async def test_a_version_of_bare_tensors_with_the_same_signature_is_rolled_out(
    client: httpx.AsyncClient,
) -> None:
    await _serving(client, [doubling_model(2.0), doubling_model(3.0)], **RAW)
    started = await client.post("/v1/rollouts", json=START)
    assert started.status_code == 201, started.text
    page = (await client.get("/v1/models/delay/versions/2")).json()
    assert page["signature"]["inputs"] == [{"name": "input", "datatype": "FP32", "shape": [-1, 1]}]


async def test_a_version_of_another_task_is_not_rolled_out(client: httpx.AsyncClient) -> None:
    await publish(client, 2.0)
    await publish(client, 3.0, manifest=manifest_of(task="classification"))
    await promote(client, "1", "production")
    answer = await client.post("/v1/rollouts", json=START)
    assert answer.status_code == 409
    assert "its task is classification, not regression" in answer.json()["detail"]


async def test_what_callers_have_to_send_besides_is_told_with_the_rollout(
    client: httpx.AsyncClient,
) -> None:
    await publish(client)
    more: dict[str, Any] = {
        "request_fields": {"x": "float64", "gate": "string"},
        "entity_keys": ["plane", "crew"],
    }
    await publish(client, manifest=manifest_of(**more))
    await promote(client, "1", "production")
    (advice,) = (await client.post("/v1/rollouts?dry_run=true", json=START)).json()["advice"]
    assert "version 2 needs of its callers what version 1 does not: crew, gate (string);" in advice
    split = {"model": "delay", "plan": SPLIT, "reason": "which is better?"}
    assert (await client.post("/v1/experiments", json=split)).json()["advice"] == [advice]


async def test_a_metric_that_nothing_could_be_held_to_is_refused(client: httpx.AsyncClient) -> None:
    await _serving(client, [doubling_model(2.0), doubling_model(3.0)], **RAW)
    metrics = [{"name": "log_loss", "kind": "log_loss", "margin": 0.1}]
    split = {"model": "delay", "plan": {**SPLIT, "metrics": metrics}, "reason": "which is better?"}
    answer = await client.post("/v1/experiments", json=split)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid-input")
    assert "a version of bare tensors answers cannot be held to log_loss" in answer.json()["detail"]
    answer = await client.post("/v1/rollouts", json={**START, "plan": {"guards": metrics}})
    assert answer.status_code == 422
    assert (await client.get("/v1/rollouts")).json()["rollouts"] == []


@pytest.mark.parametrize(("width", "guard"), [(1, "log_loss"), (2, "log_loss"), (3, "accuracy")])
async def test_classes_without_names_are_counted_in_the_graph(
    client: httpx.AsyncClient, width: int, guard: str
) -> None:
    tensors = {"layout": "matrix", "input": "x", "probability": "p"}
    graph = _graph("x", width=width, output="p")
    for commit in ("a", "b"):
        training = manifest_of()["training"] | {"git_commit": commit}
        manifest = manifest_of(task="classification", tensors=tensors, training=training)
        assert (await publish(client, files={"model.onnx": graph}, manifest=manifest)).is_success
    await promote(client, "1", "production")
    started = (await client.post("/v1/rollouts?dry_run=true", json=START)).json()
    assert [one["kind"] for one in started["plan"]["guards"]][-1] == guard
    wanted = [{"name": "loss", "kind": "log_loss", "margin": 0.1}]
    answer = await client.post("/v1/rollouts", json={**START, "plan": {"guards": wanted}})
    assert answer.status_code == (201 if guard == "log_loss" else 422)
    if guard == "accuracy":
        assert "of 3 classes answers cannot be held to log_loss" in answer.json()["detail"]
