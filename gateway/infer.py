"""The Open Inference Protocol (V2), passed on to a replica as it came, JSON or binary tensors."""

import re
import zlib
from dataclasses import dataclass

import orjson

from contracts.envelope import ROWS_MAX
from contracts.frames import Ask, FrameKind
from contracts.problems import ProblemCode
from gateway.admit import Admission, limit_headers
from gateway.domain.access import ANY_PREDICT, OPEN, may
from gateway.domain.exchange import Question, Reply, parse_lines, trace_of
from gateway.ports import Replicas
from kit.problems import Problem

PASSED_ON = ("content-type", "inference-header-content-length", "accept", "accept-encoding")
_MODEL = re.compile(r"/v2/models/([^/]+)(?:/.*)?")
_SHAPE = re.compile(rb'"shape"\s*:\s*\[\s*(\d{1,7})')
_ESCAPED_SHAPE = re.compile(
    b'"' + b"".join(rb"(?:%c|\\u00%x)" % (letter, letter) for letter in b"shape")
    + rb'"\s*:\s*\[\s*(\d{1,7})'
)  # fmt: skip
"""Another way to write the same name."""


@dataclass(slots=True)
class InferQuestion:
    """A V2 call. ``path`` is decoded, ``target`` is the path and query as they came."""

    question: Question
    method: str
    path: str
    target: str
    headers: dict[str, str]
    scope: str
    """What the access table asks for; empty is open."""


class Infer:
    """``/v2/…``. Never raises: every fault is ``{"error": "<text>"}``."""

    def __init__(self, admission: Admission, replicas: Replicas, body_bytes_max: int) -> None:
        self._admission = admission
        self._replicas = replicas
        self._body_bytes_max = body_bytes_max

    async def __call__(self, asked: InferQuestion) -> Reply:
        """The answer to one call."""
        try:
            return await self._answer(asked)
        except Problem as problem:
            return error_reply(problem)

    async def _answer(self, asked: InferQuestion) -> Reply:
        admission, question = self._admission, asked.question
        deadline = admission.deadline(question.preamble.timeout_ms)
        if asked.scope == OPEN:
            answer = await self._replicas.ask(
                FrameKind.INFER, self._pack(asked, "anonymous", b"", deadline.remaining_ms()), 1,
                deadline,
            )  # fmt: skip
            return Reply(answer.status, answer.body, parse_lines(answer.headers))
        principal = await admission.principal(question.preamble)
        admission.enter(principal)
        try:
            if self._replicas.queues.slow:
                self._replicas.refuse_hopeless(f"{asked.method} {asked.target}", deadline)
            if not may(principal.caller, ANY_PREDICT):
                raise Problem(ProblemCode.FORBIDDEN, "This needs the scope predict.")
            if named := _MODEL.fullmatch(asked.path):
                admission.check_model(principal, named[1])
            body = inflate(
                question.body, asked.headers.get("content-encoding", ""), self._body_bytes_max
            )
            rows = rows_in(body) if asked.method == "POST" else 1
            account = admission.account(principal)
            await admission.limit.spend(account, rows)
            ask = self._pack(asked, principal.caller.principal, body, deadline.remaining_ms())
            try:
                answer = await self._replicas.ask(FrameKind.INFER, ask, rows, deadline)
            except Problem as problem:
                admission.limit.give_back_after(problem, account, rows)
                raise
            if answer.status >= 500:
                admission.limit.give_back(account, rows)
            headers = parse_lines(answer.headers) + admission.limit.headers(account)
            return Reply(answer.status, answer.body, headers)
        finally:
            admission.leave(principal)

    @staticmethod
    def _pack(asked: InferQuestion, principal: str, body: bytes, remaining_ms: float) -> Ask:
        lines = "".join(
            f"{name}: {asked.headers[name]}\n" for name in PASSED_ON if name in asked.headers
        )
        return Ask(
            remaining_ms=max(1, int(remaining_ms)),
            request_id=bytes.fromhex(asked.question.request_id),
            target=f"{asked.method} {asked.target}",
            principal=principal,
            traceparent=trace_of(asked.question.preamble.traceparent, asked.question.request_id),
            headers=lines.encode("latin-1"),
            body=body,
        )


def rows_in(body: bytes) -> int:
    """The largest first dimension named in the JSON part: what the call costs, at least 1."""
    shape = _ESCAPED_SHAPE if b"\\u00" in body else _SHAPE
    return max(1, min(ROWS_MAX, max(map(int, shape.findall(body)), default=1)))


def inflate(body: bytes, encoding: str, bytes_max: int) -> bytes:
    """Undo gzip or deflate, but never beyond ``bytes_max``. Raises ``Problem``."""
    if encoding in ("", "identity"):
        return body
    if encoding not in ("gzip", "deflate"):
        raise Problem(ProblemCode.UNSUPPORTED_MEDIA_TYPE, "Content-Encoding is gzip or deflate.")
    inflater = zlib.decompressobj(zlib.MAX_WBITS | 32)  # both, by their first bytes
    try:
        whole = inflater.decompress(body, bytes_max + 1)
    except zlib.error:
        raise Problem(ProblemCode.MALFORMED_HTTP, "The body is not compressed as told.") from None
    if len(whole) > bytes_max:
        raise Problem(ProblemCode.CONTENT_TOO_LARGE, f"At most {bytes_max} bytes, decompressed.")
    if not inflater.eof or inflater.unused_data:
        raise Problem(ProblemCode.MALFORMED_HTTP, "The compressed body is not whole.")
    return whole


def error_reply(problem: Problem) -> Reply:
    """A fault as the Open Inference Protocol wants it."""
    status = 400 if problem.code.status == 422 else problem.code.status
    headers = [(name.encode(), value.encode()) for name, value in problem.headers().items()]
    headers[0] = (b"content-type", b"application/json")
    body = orjson.dumps({"error": problem.detail})
    return Reply(status, body, (*headers, *limit_headers(problem)))
