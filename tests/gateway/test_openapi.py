"""Whatever the gateway's own OpenAPI document allows, and whatever it does not: never a 5xx."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.gateway.replica import FakeReplica
from tests.gateway.running import Running, make_key, running_gateway
from tests.openapi import attack
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


async def test_no_generated_request_is_a_server_error(admin: tuple[Running, str]) -> None:
    gateway, key = admin
    document = (await gateway.http.get("/openapi.json")).json()
    url, headers = f"http://127.0.0.1:{gateway.port}", {"X-API-Key": key}
    tried = await asyncio.to_thread(attack, url, document, headers, examples=15)
    assert {"POST /predict", "POST /v1/keys", "DELETE /v1/keys/{key_id}"} <= tried


async def test_the_document_says_which_calls_need_a_key(admin: tuple[Running, str]) -> None:
    gateway, _ = admin
    paths = (await gateway.http.get("/openapi.json")).json()["paths"]
    assert paths["/v1/keys/{key_id}"]["delete"]["security"] == [{"ApiKey": []}, {"Bearer": []}]
    assert "security" not in paths["/healthz"]["get"]
