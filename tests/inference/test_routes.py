"""What HTTP adds to the verbs."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from inference.routes import open_inference
from inference.settings import InferenceSettings
from kit.app import create_app
from tests.inference.asking import Asking


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    asking = Asking()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield

    app = create_app(
        "inference",
        "Serves models.",
        InferenceSettings(state_dir=tmp_path),
        routers=[open_inference(asking.infer, asking.house.clock, open_to_all=True)],
        lifespan=lifespan,
        ready=list,
    )
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://inference") as client:
        yield client
    await asking.house.close()


@pytest.mark.parametrize(
    ("path", "allowed"),
    [("/v2", "GET, HEAD"), ("/v2/models/table", "GET, HEAD"), ("/v2/models/table/infer", "POST")],
)
@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_a_method_that_no_path_takes_is_refused_as_the_protocol_has_it(
    client: httpx.AsyncClient, method: str, path: str, allowed: str
) -> None:
    answer = await client.request(method, path)
    assert (answer.status_code, list(answer.json())) == (405, ["error"])
    assert answer.headers["allow"] == allowed


async def test_head_is_answered_as_get_is(client: httpx.AsyncClient) -> None:
    said = await client.head("/v2/models/table")
    assert said.status_code == 200
    said = await client.head("/v2/models/table/infer")
    assert (said.status_code, said.headers["allow"]) == (405, "POST")
