"""The gateway's own OpenAPI document: it names all that callers reach, and how; and whatever it
allows, and whatever it does not: never a 5xx."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from contracts.frames import Answer, Ask, FrameKind
from gateway.domain.access import rule_for, scope_for
from kit.clock import FakeClock, SystemClock
from tests.gateway.replica import FakeReplica, echo
from tests.gateway.running import Running, make_key, running_gateway
from tests.openapi import attack

KEYED: list[dict[str, list[str]]] = [{"ApiKey": []}, {"Bearer": []}]


@pytest.fixture
async def admin(
    state: Path, redis_url: str, replica: FakeReplica
) -> AsyncIterator[tuple[Running, str]]:
    """A gateway that has no cause for an honest 503 or 504, and the key of an administrator.

    However busy the machine is: time stands still for its deadlines, and a Redis that is slow is
    waited for.
    """
    key = make_key(state, "root", "admin", quota_rows=60_000_000)
    async with running_gateway(
        state, redis_url, clock=FakeClock(SystemClock().wall_us()),
        inference_frames=(replica.address,), keys_timeout_ms=60_000,
    ) as gateway:  # fmt: skip
        await gateway.ready()
        yield gateway, key


async def document_of(gateway: Running) -> dict[str, Any]:
    answer = await gateway.http.get("/openapi.json")
    whole: dict[str, Any] = answer.json()
    return whole


def operations_of(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(path, method, operation) of each."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method.upper(), operation


def part_of(document: dict[str, Any], service: str) -> dict[str, Any]:
    """The document of what that service answers."""
    paths: dict[str, Any] = {}
    for path, method, operation in operations_of(document):
        if operation.get("x-served-by", "gateway") == service:
            paths.setdefault(path, {})[method.lower()] = operation
    return {**document, "paths": paths}


def answer_anything(kind: int, ask: Ask) -> Answer:
    return Answer(200, b"{}") if kind == FrameKind.INFER else echo(kind, ask)


async def test_no_generated_request_is_a_server_error(
    admin: tuple[Running, str], replica: FakeReplica
) -> None:
    gateway, key = admin
    replica.rule = answer_anything
    document = await document_of(gateway)
    url, headers = f"http://127.0.0.1:{gateway.port}", {"X-API-Key": key}
    own, by_frames = [  # what goes on over HTTP is attacked at the service that answers it
        await asyncio.to_thread(attack, url, part_of(document, service), headers, examples=examples)
        for service, examples in (("gateway", 15), ("inference", 4))
    ]
    assert {"POST /predict", "POST /v1/keys", "DELETE /v1/keys/{key_id}"} <= own
    assert {"GET /v2", "POST /v2/models/{model}/infer"} <= by_frames


async def test_the_document_says_which_calls_need_a_key_and_which_scope(
    admin: tuple[Running, str],
) -> None:
    gateway, _ = admin
    paths = (await document_of(gateway))["paths"]
    revoke = paths["/v1/keys/{key_id}"]["delete"]
    assert revoke["security"] == KEYED
    assert revoke["description"].endswith("\n\nScope: `admin`.")
    publish = paths["/v1/models/{model}/versions"]["post"]
    assert publish["security"] == KEYED
    assert publish["description"].endswith("\n\nScope: `registry:write`.")
    assert paths["/predict"]["post"]["description"].endswith("`predict` or `predict:<model>`.")
    for open_to_all in (paths["/healthz"]["get"], paths["/v2/health/live"]["get"]):
        assert "security" not in open_to_all
        assert open_to_all["description"].endswith("Scope: none.")


async def test_the_document_names_what_is_forwarded_and_nothing_that_is_not(
    admin: tuple[Running, str],
) -> None:
    gateway, _ = admin
    served_by = {}
    for path, method, operation in operations_of(await document_of(gateway)):
        rule = rule_for(path.replace("{", "").replace("}", ""))
        assert rule is not None, path
        assert scope_for(rule, method) is not None, (method, path)
        assert operation.get("x-served-by", "gateway") == rule.service, (method, path)
        served_by[f"{method} {path}"] = rule.service
    assert served_by["POST /v1/rollouts"] == "registry"
    assert served_by["POST /v1/features/push"] == "feature_store"
    assert served_by["POST /v1/labels"] == "monitor"
    assert served_by["POST /v2/models/{model}/infer"] == "inference"
    assert "PUT /v1/replicas/{replica}" not in served_by


async def test_the_document_is_made_once_and_can_be_asked_for_its_head(
    admin: tuple[Running, str],
) -> None:
    gateway, _ = admin
    first, again = [await gateway.http.get("/openapi.json") for _ in range(2)]
    assert first.content == again.content
    assert first.json() == gateway.gateway.app.openapi()
    assert gateway.gateway.app.openapi() is gateway.gateway.app.openapi()
    head = await gateway.http.head("/openapi.json")
    assert (head.status_code, head.headers["content-type"]) == (200, "application/json")


async def test_every_reference_of_the_document_leads_somewhere_and_names_are_unique(
    admin: tuple[Running, str],
) -> None:
    gateway, _ = admin
    document = await document_of(gateway)

    def refs(part: Any) -> Iterator[str]:
        if isinstance(part, dict):
            if isinstance(part.get("$ref"), str):
                yield part["$ref"]
            part = list(part.values())
        if isinstance(part, list):
            for one in part:
                yield from refs(one)

    found = set(refs(document))
    assert "#/components/responses/Problem" in found
    for ref in found:
        target = document
        for name in ref.removeprefix("#/").split("/"):
            target = target[name]
    ids = [operation["operationId"] for _, _, operation in operations_of(document)]
    assert len(ids) == len(set(ids))
