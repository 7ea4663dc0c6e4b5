"""HTTP in, one verb call, HTTP out."""

import re
from collections.abc import Callable
from typing import Annotated, Any
from uuid import uuid4

from fastapi import APIRouter, Request, Response

from contracts.identity import DEADLINE_HEADER, Caller
from contracts.problems import ProblemCode
from contracts.routing import RoutingTable
from inference.domain.raw_call import BODY_BYTES_MAX, Call
from inference.infer import Infer
from kit.clock import Clock
from kit.identity import needs
from kit.problems import Problem

_DEADLINE_MS = 30_000
_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


def internal(offer: Callable[[RoutingTable], None]) -> APIRouter:
    """What the registry calls."""
    routes = APIRouter(prefix="/internal", tags=["internal"])

    @routes.post("/routing")
    async def routing(
        table: RoutingTable, _caller: Annotated[Caller, needs("registry:promote")]
    ) -> dict[str, int]:
        """Take a new routing table; it takes effect once its versions are loaded."""
        offer(table)
        return {"epoch": table.epoch}

    return routes


def open_inference(infer: Infer, clock: Clock, *, open_to_all: bool) -> APIRouter:
    """The Open Inference Protocol V2; bodies are read as they are, whatever they say they are."""
    routes = APIRouter(tags=["open inference protocol"], responses=_ERRORS)

    async def answer(request: Request) -> Response:
        caller: Caller | None = request.state.caller
        if not open_to_all and caller is None:
            body = b'{"error":"a valid API key is required: call through the gateway"}'
            return Response(body, 401, media_type="application/json")
        said = await infer.handle(
            Call(
                method=request.method,
                path=request.url.path,
                headers=request.headers,
                body=await _body(request),
                request_id=uuid4().bytes,
                deadline_ns=clock.monotonic_ns() + _remaining_ms(request) * 1_000_000,
            )
        )
        response = Response(said.body, said.status)
        for line in said.headers.decode().splitlines():
            name, _, value = line.partition(": ")
            response.headers[name] = value
        return response

    for path, method, summary in _PATHS:
        routes.add_api_route(
            path, answer, methods=[method], summary=summary, response_class=Response,
            openapi_extra=_described(path),
        )  # fmt: skip
    for path in ("/v2", "/v2/{rest:path}"):  # what these do not take is refused in V2's own form
        routes.add_api_route(path, answer, methods=_METHODS, include_in_schema=False)
    return routes


async def _body(request: Request) -> bytes:
    pieces, size = [], 0
    async for piece in request.stream():
        size += len(piece)
        if size > BODY_BYTES_MAX:
            raise Problem(ProblemCode.CONTENT_TOO_LARGE, "The body is larger than allowed.")
        pieces.append(piece)
    return b"".join(pieces)


def _remaining_ms(request: Request) -> int:
    given = request.headers.get(DEADLINE_HEADER, "")
    return int(given) if given.isascii() and given.isdigit() and len(given) < 9 else _DEADLINE_MS


def _described(path: str) -> dict[str, Any]:
    """What FastAPI cannot know of a route that reads its request as it is."""
    described: dict[str, Any] = {
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in re.findall(r"{(\w+)}", path)
        ]
    }
    if path.endswith("/infer"):
        described["requestBody"] = {
            "required": True,
            "content": {
                "application/json": {"schema": _INFER},
                "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
            },
        }
    return described


_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {
        "description": 'What is wrong: `{"error": "…"}`.',
        "content": {
            "application/json": {
                "schema": {"type": "object", "properties": {"error": {"type": "string"}}}
            }
        },
    }
    for status in ("4XX", "5XX")
}
_TENSOR: dict[str, Any] = {
    "name": {"type": "string"},
    "parameters": {"type": "object"},
}
_INFER: dict[str, Any] = {
    "type": "object",
    "required": ["inputs"],
    "properties": {
        "id": {"type": "string"},
        "parameters": {"type": "object"},
        "inputs": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["name", "shape", "datatype", "data"],
                "properties": {
                    **_TENSOR,
                    "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}},
                    "datatype": {"type": "string", "examples": ["FP32", "INT64", "BYTES"]},
                    "data": {"type": "array", "items": {}},
                },
            },
        },
        "outputs": {
            "type": "array",
            "items": {"type": "object", "required": ["name"], "properties": _TENSOR},
        },
    },
}
"""A request in JSON; with ``Inference-Header-Content-Length`` tensors may follow it as bytes."""
_PATHS = (
    ("/v2", "GET", "Server metadata"),
    ("/v2/health/live", "GET", "Whether the server lives"),
    ("/v2/health/ready", "GET", "Whether the server is ready"),
    ("/v2/models/stats", "GET", "Statistics of all models"),
    ("/v2/models/{model}", "GET", "Model metadata"),
    ("/v2/models/{model}/ready", "GET", "Whether a model is ready"),
    ("/v2/models/{model}/config", "GET", "Model configuration"),
    ("/v2/models/{model}/stats", "GET", "Statistics of a model"),
    ("/v2/models/{model}/infer", "POST", "Infer, by the routed version"),
    ("/v2/models/{model}/versions/{version}", "GET", "Version metadata"),
    ("/v2/models/{model}/versions/{version}/ready", "GET", "Whether a version is ready"),
    ("/v2/models/{model}/versions/{version}/config", "GET", "Version configuration"),
    ("/v2/models/{model}/versions/{version}/stats", "GET", "Statistics of a version"),
    ("/v2/models/{model}/versions/{version}/infer", "POST", "Infer, by this version"),
    ("/v2/repository/index", "POST", "Every loaded version"),
)
