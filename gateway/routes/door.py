"""The door: every request passes it.

Nothing passes that the access table does not name, and what passes carries a proven caller. Behind
it the gateway's own pages (keys, problems, documentation) are an ordinary FastAPI application that
trusts the same headers as any service.
"""

import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from contracts.identity import SERVICE_TOKEN_HEADER
from contracts.problems import ProblemCode
from gateway.adapters.edge import OURS
from gateway.adapters.presence import PRESENCE, CallerLeft
from gateway.admit import problem_reply
from gateway.domain.access import OPEN, Rule, brings_no_body, methods_of, rule_for, scope_for
from gateway.domain.exchange import Question, Reply, preamble_of
from gateway.domain.open_inference import infer_head
from gateway.forward import Forward, caller_headers, passes
from gateway.infer import Infer, error_reply
from gateway.metrics import PREDICT_SECONDS, REQUESTS
from gateway.once import Once
from gateway.ports import UpstreamAnswer
from gateway.predict import Predict
from kit.logs import get_logger
from kit.problems import Problem, no_such_path

_log = get_logger(__name__)
LogAccess = Callable[[int, Question, str, float], None]
"""(status, question, path, seconds): one line for some of the answers."""


class _NoSuchMethod(Problem):
    """The path is there, the method is not."""

    def __init__(self, rule: Rule) -> None:
        self.allowed = methods_of(rule)
        super().__init__(ProblemCode.METHOD_NOT_ALLOWED, f"This path takes {self.allowed}.")


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
        metrics_open: bool,
    ) -> None:
        self._app = app
        self._predict = predict
        self._once = once
        self._infer = infer
        self._forward = forward
        self._service_token = service_token
        self._log_access = log_access
        self._metrics_open = metrics_open

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
        except Exception:
            if status:
                raise
            _log.exception("request_failed", request_id=question.request_id, path=scope["path"])
            await _refuse(scope, send_and_note, question, OURS)
        finally:
            seconds = (time.perf_counter_ns() - began_ns) / 1e9
            self._log_access(status, question, scope["path"], seconds)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, question: Question) -> None:
        try:
            await self._pass(scope, receive, send, question)
        except CallerLeft:
            return
        except Problem as problem:
            await _refuse(scope, send, question, problem)

    async def _pass(self, scope: Scope, receive: Receive, send: Send, question: Question) -> None:
        path, method = scope["path"], scope["method"]
        rule = rule_for(path)
        if rule is None:
            raise Problem(ProblemCode.NOT_FOUND, no_such_path(path))
        needed = scope_for(rule, method)
        if needed is None:
            raise _NoSuchMethod(rule)
        if path == "/predict":
            question.body = await _whole(receive, rule.body_bytes_max)
            began_ns = time.perf_counter_ns()
            reply = await self._prediction(scope, question)
            PREDICT_SECONDS.observe((time.perf_counter_ns() - began_ns) / 1e9)
            await _answer(send, reply, question, "predict")
        elif rule.service == "inference":
            question.body = await _whole(receive, rule.body_bytes_max)
            asked_for = "GET" if method == "HEAD" else method  # the server leaves the body out
            head = infer_head(asked_for, path, _target(scope), _texts(scope), needed)
            reply = await scope[PRESENCE].while_there(self._infer(question, head))
            await _answer(send, reply, question, "infer")
        elif rule.service == "gateway":
            if path == "/metrics" and not self._metrics_open:
                needed = "monitor:read"
            await self._own(scope, receive, send, question, needed)
        else:
            await self._control(scope, receive, send, question, rule, needed)

    async def _prediction(self, scope: Scope, question: Question) -> Reply:
        headers = _texts(scope)
        if headers.get("content-encoding", "identity") != "identity":
            raise Problem(ProblemCode.UNSUPPORTED_MEDIA_TYPE, "The body is not to be encoded.")
        key = headers.get("idempotency-key")
        if key is None:
            reply: Reply = await scope[PRESENCE].while_there(self._predict(question))
            return reply
        # Who leaves will ask again under this key, and wants the answer that was begun.
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
        call = partial(
            self._forward,
            rule.service,
            scope["method"],
            _target(scope),
            _texts(scope).items(),
            body,
            question=question,
            principal=principal,
            seconds_max=rule.seconds_max(scope["method"]),
        )
        await scope[PRESENCE].while_there(_pass_back(call, send, question.request_id))
        # With the end of an answer the connection may turn to its next request.
        await send({"type": "http.response.body", "body": b""})


async def _pass_back(
    call: Callable[[], Awaitable[UpstreamAnswer]], send: Send, request_id: str
) -> None:
    """Send a service's answer on as it comes, but for the end of it."""
    answer = await call()
    try:
        REQUESTS.add(("control", answer.status))
        kept = [pair for pair in answer.headers if pair[0].lower() != b"x-request-id"]
        headers = [*kept, (b"x-request-id", request_id.encode())]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        async for piece in answer.body:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
    finally:
        await answer.close()


def question_of(scope: Scope) -> Question:
    """What the request's headers say; the body comes later."""
    preamble = preamble_of(dict(scope["headers"]), scope.get("query_string", b""))
    return Question(secrets.token_hex(16), preamble)


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


async def _refuse(scope: Scope, send: Send, question: Question, problem: Problem) -> None:
    if scope["path"].startswith("/v2"):
        reply = error_reply(problem)
    else:
        reply = problem_reply(problem, question.request_id, scope["path"])
    if isinstance(problem, _NoSuchMethod):
        reply.headers += ((b"allow", problem.allowed.encode()),)
    await _answer(send, reply, question, "own")


async def _answer(send: Send, reply: Reply, question: Question, route: str) -> None:
    REQUESTS.add((route, reply.status))
    headers = [
        *reply.headers,
        (b"content-length", str(len(reply.body)).encode()),
        (b"x-request-id", question.request_id.encode()),
    ]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})
