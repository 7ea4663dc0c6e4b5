"""A real registry on its own directory, called over ASGI; small real ONNX models to publish."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import onnx
import orjson
import pytest
from fastapi import FastAPI
from onnx import TensorProto, helper

from contracts.identity import PRINCIPAL_HEADER, SCOPES_HEADER, SERVICE_TOKEN_HEADER
from kit.clock import FakeClock
from registry.app import build
from registry.settings import RegistrySettings

TOKEN = "t" * 32
Publish = Callable[..., Awaitable[httpx.Response]]

START = {"model": "delay", "version": "2", "preset": "fast", "reason": "it is better"}

SPLIT: dict[str, Any] = {
    "arms": [
        {"name": "control", "version": "1", "weight": 0.5},
        {"name": "new", "version": "2", "weight": 0.5},
    ],
    "metrics": [{"name": "mae", "kind": "mae", "margin": 0.1}],
}


def doubling_model(factor: float = 2.0) -> bytes:
    """value = factor · x, as an ONNX graph with the input ``input`` [n, 1]."""
    graph = helper.make_graph(
        [helper.make_node("Mul", ["input", "factor"], ["value"])],
        "doubling",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [None, 1])],
        [helper.make_tensor_value_info("value", TensorProto.FLOAT, [None, 1])],
        [helper.make_tensor("factor", TensorProto.FLOAT, [1], [factor])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(model.SerializeToString())


def manifest_of(model: str = "delay", **changes: Any) -> dict[str, Any]:
    """A complete manifest for ``doubling_model``."""
    return {
        "model": model,
        "task": "regression",
        "entity_keys": ["plane"],
        "inputs": [{"name": "x", "dtype": "float32", "source": "request:x"}],
        "request_fields": {"x": "float32"},
        "tensors": {"layout": "matrix", "input": "input", "value": "value"},
        "training": {
            "dataset_name": "flights",
            "dataset_version": "2013-11",
            "dataset_digest": "d" * 64,
            "hyperparameters": {"trees": 100},
            "metrics": {"mae": 3.5},
            "metrics_rows": 1000,
            "trained_at": "2013-12-01T00:00:00Z",
            "git_commit": "abc123",
        },
        **changes,
    }


def settings_for(state_dir: Path, **changes: Any) -> RegistrySettings:
    """Settings of a registry of its own; the mirror is quiet unless a test wants it."""
    return RegistrySettings(
        state_dir=state_dir, service_token=TOKEN, **{"mirror_s": 3600.0, **changes}
    )


@asynccontextmanager
async def running(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client of ``app`` while it lives; it speaks as the platform unless told otherwise."""
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(app),
            base_url="http://registry",
            headers={SERVICE_TOKEN_HEADER: TOKEN},
        ) as client,
    ):
        yield client


def speaking_as(principal: str, *scopes: str) -> dict[str, str]:
    """Headers that say who asks and what it may do."""
    return {PRINCIPAL_HEADER: principal, SCOPES_HEADER: " ".join(scopes)}


@pytest.fixture
async def client(tmp_path: Path, fake_clock: FakeClock) -> AsyncIterator[httpx.AsyncClient]:
    """A registry that nobody has told anything yet."""
    async with running(build(settings_for(tmp_path), fake_clock)) as client:
        yield client


async def publish(
    client: httpx.AsyncClient,
    factor: float = 2.0,
    *,
    model: str = "delay",
    files: dict[str, bytes] | None = None,
    manifest: dict[str, Any] | None = None,
    headers: dict[str, str] | None = None,
    query: str = "",
) -> httpx.Response:
    """Publish ``doubling_model(factor)`` (or what is given) as a version of ``model``."""
    parts = {"model.onnx": doubling_model(factor)} if files is None else files
    body = [("manifest", (None, orjson.dumps(manifest or manifest_of(model)), "application/json"))]
    return await client.post(
        f"/v1/models/{model}/versions{query}",
        files=[*body, *((path, (path, data)) for path, data in parts.items())],
        headers=headers,
    )


async def promote(
    client: httpx.AsyncClient, version: str, to: str, *, model: str = "delay", match: str = "*"
) -> httpx.Response:
    """Ask for one transition."""
    return await client.post(
        f"/v1/models/{model}/versions/{version}/transitions",
        json={"to": to, "reason": "a test wants it"},
        headers={"if-match": match},
    )


def onnx_from(data: bytes) -> onnx.ModelProto:
    """The graph in those bytes."""
    return onnx.load_from_string(data)
