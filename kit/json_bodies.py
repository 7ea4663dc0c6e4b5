"""Strict JSON at the door of every service: bounded, UTF-8, no NaN, no trailing bytes."""

from typing import Any

import orjson
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from contracts.problems import ProblemCode
from kit.problems import Problem, problem_body

_PARSED = "leadline.json"
JSON_BYTES_MAX = 4 * 1024 * 1024


class JsonBodies:
    """Reads a JSON body whole, refuses what is too large or not strict JSON, and hands it on.
    Bodies of any kind come as they are, not compressed.

    Python's own parser takes NaN, Infinity and lone surrogates, which then fail where an answer
    is written: a 500 for a bad input. ``/v2`` has its own rules and is left alone.
    """

    def __init__(self, app: ASGIApp, json_bytes_max: int = JSON_BYTES_MAX) -> None:
        self._app = app
        self._json_bytes_max = json_bytes_max

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith("/v2"):
            await self._app(scope, receive, send)
            return
        if Headers(scope=scope).get("content-encoding", "identity") != "identity":
            detail = "The body is not to be encoded."
            await _refuse(Problem(ProblemCode.UNSUPPORTED_MEDIA_TYPE, detail), scope, send)
            return
        if not is_json(scope):
            await self._app(scope, receive, send)
            return
        body = await _read(receive, self._json_bytes_max)
        if body is None:
            limit = f"At most {self._json_bytes_max} bytes are taken here."
            await _refuse(Problem(ProblemCode.CONTENT_TOO_LARGE, limit), scope, send)
        elif body and not _read_into(scope, body):
            detail = "The body could not be read as JSON (UTF-8; no NaN, no Infinity)."
            await _refuse(Problem(ProblemCode.MALFORMED_JSON, detail), scope, send)
        else:
            await self._app(scope, _replay(body, receive), send)


def is_json(scope: Scope) -> bool:
    """Whether the request's body says it is JSON; then it was read and checked here."""
    media_type = Headers(scope=scope).get("content-type", "").partition(";")[0].strip().lower()
    return media_type == "application/json" or media_type.endswith("+json")


def json_body(scope: Scope) -> Any:
    """The body of a request for which ``is_json`` holds, as it was parsed here; None: empty."""
    return scope.get(_PARSED)


async def _read(receive: Receive, bytes_max: int) -> bytes | None:
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return b""
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > bytes_max:
            return None
        if not message.get("more_body", False):
            return b"".join(parts)


def _read_into(scope: Scope, body: bytes) -> bool:
    try:
        scope[_PARSED] = orjson.loads(body)
    except orjson.JSONDecodeError:
        return False
    return True


def _replay(body: bytes, receive: Receive) -> Receive:
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


async def _refuse(problem: Problem, scope: Scope, send: Send) -> None:
    request_id = scope.get("state", {}).get("request_id", "")
    headers = [(name.encode(), value.encode()) for name, value in problem.headers().items()]
    await send({"type": "http.response.start", "status": problem.code.status, "headers": headers})
    body = problem_body(problem, request_id, scope["path"])
    await send({"type": "http.response.body", "body": body})
