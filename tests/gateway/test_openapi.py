"""Whatever the gateway's own OpenAPI document allows, and whatever it does not: never a 5xx."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok

from tests.gateway.replica import FakeReplica
from tests.gateway.running import Running, make_key, running_gateway
from tests.polling import until


@pytest.fixture
async def admin(
    state: Path, redis_url: str, replica: FakeReplica
) -> AsyncIterator[tuple[Running, str]]:
    """A gateway and the key of an administrator."""
    key = make_key(state, "root", "admin", quota_rows=60_000_000)
    async with running_gateway(state, redis_url, inference_frames=(replica.address,)) as gateway:
        await until(lambda: replica._writers != set())
        yield gateway, key


def attack(port: int, document: dict[str, object], key: str) -> set[str]:
    """Send generated requests for every operation; the operations that were tried."""
    schema = schemathesis.openapi.from_dict(document)
    tried = set()
    for result in schema.get_all_operations():
        assert isinstance(result, Ok)
        operation = result.ok()
        tried.add(operation.label)

        @settings(
            max_examples=15, deadline=None, phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(case=operation.as_strategy())
        def send(case: schemathesis.Case) -> None:
            response = case.call(
                base_url=f"http://127.0.0.1:{port}", headers={"X-API-Key": key}, timeout=5
            )
            case.validate_response(response, checks=[not_a_server_error])

        send()
    return tried


async def test_no_generated_request_is_a_server_error(admin: tuple[Running, str]) -> None:
    gateway, key = admin
    document = (await gateway.http.get("/openapi.json")).json()
    tried = await asyncio.to_thread(attack, gateway.port, document, key)
    assert {"POST /predict", "POST /v1/keys", "DELETE /v1/keys/{key_id}"} <= tried


async def test_the_document_says_which_calls_need_a_key(admin: tuple[Running, str]) -> None:
    gateway, _ = admin
    paths = (await gateway.http.get("/openapi.json")).json()["paths"]
    assert paths["/v1/keys/{key_id}"]["delete"]["security"] == [{"ApiKey": []}, {"Bearer": []}]
    assert "security" not in paths["/healthz"]["get"]
