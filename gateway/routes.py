"""HTTP in, one verb call, HTTP out.

``Door`` stands in front of the whole application: nothing passes that the access table does not
name, and what passes carries a proven caller. Behind it the gateway's own pages (keys, problems,
documentation) are an ordinary FastAPI application that trusts the same headers as any service.
"""

import secrets
import time
from collections.abc import AsyncIterator, Callable
from typing import Annotated

from fastapi import APIRouter, Depends, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from contracts.identity import SERVICE_TOKEN_HEADER, Caller
from contracts.problems import ProblemCode
from gateway.admit import problem_reply
from gateway.domain.access import OPEN, Rule, brings_no_body, rule_for, scope_for
from gateway.domain.exchange import Question, Reply, explains
from gateway.domain.keys import DEFAULT_QUOTA_ROWS, DEFAULT_WINDOW_S, KeyRecord
from gateway.forward import Forward, caller_headers, passes
from gateway.infer import Infer, InferQuestion, error_reply
from gateway.issue_keys import IssueKeys
from gateway.metrics import REQUESTS
from gateway.once import Once
from gateway.predict import Predict
from kit.identity import needs, require
from kit.problems import Problem

LogAccess = Callable[[int, str, str, float], None]
"""(status, request id, path, seconds): one line for some of the answers."""


class CallerLeft(Exception):
    """The caller closed the connection before the request was whole."""


class Door:
    """The ASGI middleware that every request passes."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        predict: Predict,
        once: Once,
        infer: Infer,
        forward: Forward,
        service_token: str,
        log_access: LogAccess,
    ) -> None:
        self._app = app
        self._predict = predict
        self._once = once
        self._infer = infer
        self._forward = forward
        self._service_token = service_token
        self._log_access = log_access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        question, status, began_ns = question_of(scope), 0, time.perf_counter_ns()

        async def send_and_note(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self._answer(scope, receive, send_and_note, question)
        finally:
            seconds = (time.perf_counter_ns() - began_ns) / 1e9
            self._log_access(status, question.request_id, scope["path"], seconds)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, question: Question) -> None:
        try:
            await self._pass(scope, receive, send, question)
        except CallerLeft:
            return
        except Problem as problem:
            if scope["path"].startswith("/v2"):
                reply = error_reply(problem)
            else:
                reply = problem_reply(problem, question.request_id, scope["path"])
            await _answer(send, reply, question, "own")

    async def _pass(self, scope: Scope, receive: Receive, send: Send, question: Question) -> None:
        path, method = scope["path"], scope["method"]
        rule = rule_for(path)
        if rule is None:
            raise Problem(ProblemCode.NOT_FOUND, "There is no such path.")
        needed = scope_for(rule, method)
        if needed is None:
            raise Problem(ProblemCode.METHOD_NOT_ALLOWED, "This path has no such method.")
        if path == "/predict":
            question.body = await _whole(receive, rule.body_bytes_max)
            await _answer(
                send, await self._prediction(question, _texts(scope)), question, "predict"
            )
        elif rule.service == "inference":
            question.body = await _whole(receive, rule.body_bytes_max)
            asked = InferQuestion(question, method, path, _target(scope), _texts(scope), needed)
            await _answer(send, await self._infer(asked), question, "infer")
        elif rule.service == "gateway":
            await self._own(scope, receive, send, question, needed)
        else:
            await self._control(scope, receive, send, question, rule, needed)

    async def _prediction(self, question: Question, headers: dict[str, str]) -> Reply:
        if headers.get("content-encoding", "identity") != "identity":
            raise Problem(ProblemCode.UNSUPPORTED_MEDIA_TYPE, "The body is not to be encoded.")
        key = headers.get("idempotency-key")
        if key is None:
            return await self._predict(question)
        return await self._once(question, key.encode("latin-1"))

    async def _own(
        self, scope: Scope, receive: Receive, send: Send, question: Question, needed: str
    ) -> None:
        headers = {name: value for name, value in _texts(scope).items() if passes(name)}
        if needed != OPEN:
            principal = await self._forward.admit(question, needed)
            headers |= caller_headers(principal, question.request_id)
            headers[SERVICE_TOKEN_HEADER] = self._service_token
        pairs = [
            (name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()
        ]
        await self._app({**scope, "headers": pairs}, receive, send)

    async def _control(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        question: Question,
        rule: Rule,
        needed: str,
    ) -> None:
        principal = await self._forward.admit(question, needed)
        body = None if brings_no_body(scope["method"]) else _pieces(receive, rule.body_bytes_max)
        answer = await self._forward(
            rule.service,
            scope["method"],
            _target(scope),
            _texts(scope).items(),
            body,
            question=question,
            principal=principal,
            seconds_max=rule.body_s_max,
        )
        REQUESTS.add(("control", answer.status))
        own = ((b"x-request-id", question.request_id.encode()),)
        kept = [pair for pair in answer.headers if pair[0].lower() != b"x-request-id"]
        await send(
            {"type": "http.response.start", "status": answer.status, "headers": [*kept, *own]}
        )
        async for piece in answer.body:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


def question_of(scope: Scope) -> Question:
    """What the request's headers say; the body comes later."""
    fields = dict(scope["headers"])
    query = scope.get("query_string", b"")
    return Question(
        request_id=secrets.token_hex(16),
        authorization=fields.get(b"authorization"),
        api_key=fields.get(b"x-api-key"),
        timeout_ms=fields.get(b"x-request-timeout-ms"),
        client_request_id=fields.get(b"x-request-id"),
        traceparent=fields.get(b"traceparent"),
        body=b"",
        explain=explains(query),
    )


async def _whole(receive: Receive, bytes_max: int) -> bytes:
    return b"".join([piece async for piece in _pieces(receive, bytes_max)])


async def _pieces(receive: Receive, bytes_max: int) -> AsyncIterator[bytes]:
    size, more = 0, True
    while more:
        message: Message = await receive()
        if message["type"] != "http.request":
            raise CallerLeft
        piece, more = message.get("body", b""), message.get("more_body", False)
        size += len(piece)
        if size > bytes_max:
            raise Problem(ProblemCode.CONTENT_TOO_LARGE, f"At most {bytes_max} bytes here.")
        if piece:
            yield piece


def _texts(scope: Scope) -> dict[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}


def _target(scope: Scope) -> str:
    query = scope.get("query_string", b"")
    path: bytes = scope.get("raw_path") or scope["path"].encode()
    return (path + b"?" + query if query else path).decode("latin-1")


async def _answer(send: Send, reply: Reply, question: Question, route: str) -> None:
    REQUESTS.add((route, reply.status))
    headers = [
        *reply.headers,
        (b"content-length", str(len(reply.body)).encode()),
        (b"x-request-id", question.request_id.encode()),
    ]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})


class KeyIn(BaseModel):
    """A request for a key."""

    model_config = ConfigDict(extra="forbid", strict=True)

    principal: str = Field(min_length=1, max_length=128, examples=["billing-service"])
    scopes: list[str] = Field(min_length=1, max_length=32, examples=[["predict:delay"]])
    expires_in_s: int | None = Field(default=None, ge=1, le=10 * 366 * 86_400)
    quota_rows: int = Field(default=DEFAULT_QUOTA_ROWS, ge=1, le=1_000_000_000)
    window_s: int = Field(default=DEFAULT_WINDOW_S, ge=1, le=86_400)


class KeyOut(BaseModel):
    """What may be shown of a key."""

    id: str
    env: str
    principal: str
    scopes: list[str]
    created_us: int
    expires_us: int | None
    revoked_us: int | None
    quota_rows: int
    window_s: int

    @classmethod
    def of(cls, record: KeyRecord) -> "KeyOut":
        """Everything but the digest."""
        shown = {name: getattr(record, name) for name in cls.model_fields}
        return cls.model_validate({**shown, "scopes": list(record.scopes)})


class NewKeyOut(KeyOut):
    """A new key; ``key`` is shown this once."""

    key: str


class KeysOut(BaseModel):
    """All keys, the oldest first."""

    keys: list[KeyOut]


Admin = Annotated[Caller, needs("admin")]


def keys_router(issue: IssueKeys) -> APIRouter:
    """``/v1/keys``."""
    router = APIRouter(prefix="/v1/keys", tags=["keys"])

    @router.post("", status_code=201)
    async def create(asked: KeyIn, caller: Admin) -> NewKeyOut:
        """Make a key for a principal, which may have two live ones."""
        key, record = await issue.create(
            caller,
            asked.principal,
            asked.scopes,
            expires_in_s=asked.expires_in_s,
            quota_rows=asked.quota_rows,
            window_s=asked.window_s,
        )
        return NewKeyOut(**KeyOut.of(record).model_dump(), key=key)

    @router.get("", dependencies=[Depends(require("admin"))])
    async def all_keys() -> KeysOut:
        """List keys without their secrets."""
        return KeysOut(keys=[KeyOut.of(record) for record in issue.all()])

    @router.delete("/{key_id}")
    async def revoke(key_id: str, caller: Admin) -> KeyOut:
        """End a key; every gateway refuses it within 5 s."""
        return KeyOut.of(await issue.revoke(caller, key_id))

    return router


def problems_router() -> APIRouter:
    """``/problems``: the page behind each problem's ``type``."""
    router = APIRouter(prefix="/problems", tags=["problems"])

    @router.get("")
    async def catalogue() -> list[dict[str, str | int | bool]]:
        """Every problem there is."""
        return [_described(code) for code in ProblemCode]

    @router.get("/{code}")
    async def page(code: str) -> Response:
        """What one problem means."""
        known = {each.value: each for each in ProblemCode}
        if code not in known:
            raise Problem(ProblemCode.NOT_FOUND, "There is no problem of that code.")
        told = _described(known[code])
        again = "may succeed later" if told["retryable"] else "will fail again unless it is changed"
        text = (
            f"{told['code']} ({told['status']})\n\n{told['title']}\n\nThe same request {again}.\n"
        )
        return Response(text, media_type="text/plain")

    return router


def _described(code: ProblemCode) -> dict[str, str | int | bool]:
    return {
        "code": code.value,
        "status": code.status,
        "title": code.title,
        "retryable": code.retryable,
    }
