"""The Open Inference Protocol (V2), passed on to a replica as it came, JSON or binary tensors."""

import re
import zlib
from functools import lru_cache

import orjson

from contracts.envelope import ROWS_MAX
from contracts.frames import Answer, Ask, FrameKind
from contracts.problems import ProblemCode
from gateway.admit import Admission, limit_headers
from gateway.authenticate import Principal
from gateway.domain.access import OPEN, may
from gateway.domain.exchange import Question, Reply, parse_lines, trace_of
from gateway.domain.open_inference import InferHead
from gateway.limit import Account
from gateway.ports import Replicas
from kit.deadline import Deadline
from kit.errand import IN_A_TASK
from kit.problems import Problem

KEPT_BYTES_MAX = 1024
"""A JSON part so short is often the same from call to call."""
_SHAPE = re.compile(rb'"shape"\s*:\s*\[\s*(\d{1,7})')
_ESCAPED_SHAPE = re.compile(
    b'"' + b"".join(rb"(?:%c|\\u00%x)" % (letter, letter) for letter in b"shape")
    + rb'"\s*:\s*\[\s*(\d{1,7})'
)  # fmt: skip
"""Another way to write the same name."""


class Infer:
    """``/v2/…``. Never raises: every fault is ``{"error": "<text>"}``."""

    def __init__(self, admission: Admission, replicas: Replicas, body_bytes_max: int) -> None:
        self._admission = admission
        self._replicas = replicas
        self._body_bytes_max = body_bytes_max

    async def __call__(self, question: Question, head: InferHead) -> Reply:
        """The answer to one call."""
        admission, preamble = self._admission, question.preamble
        try:
            deadline = admission.deadline(preamble.timeout_ms)
            if head.scope == OPEN:
                ask = _pack(question, head, "anonymous", b"", deadline)
                answer = await self._replicas.ask(FrameKind.INFER, ask, 1, deadline)
                return Reply(answer.status, answer.body, parse_lines(answer.headers))
            principal = admission.principal_now(preamble)
            if principal is None:
                await IN_A_TASK
                principal = await admission.principal(preamble)
            admission.enter(principal)
            try:
                return await self._admitted(question, head, principal, deadline)
            finally:
                admission.leave(principal)
        except Problem as problem:
            return error_reply(problem)

    async def _admitted(
        self, question: Question, head: InferHead, principal: Principal, deadline: Deadline
    ) -> Reply:
        admission = self._admission
        replicas = self._replicas
        if replicas.queues.slow and (hopeless := replicas.hopeless(head.target, deadline)):
            raise hopeless
        if not may(principal.caller, head.scope):
            raise Problem(ProblemCode.FORBIDDEN, "This needs the scope predict.")
        if head.model is not None:
            admission.check_model(principal, head.model)
        body = inflate(question.body, head.encoding, self._body_bytes_max)
        rows = rows_in(body, head.json_bytes) if head.method == "POST" else 1
        account = admission.account(principal)
        if not admission.limit.spend_now(account, rows):
            await IN_A_TASK
            await admission.limit.spend(account, rows)
        ask = _pack(question, head, principal.caller.principal, body, deadline)
        answer = await self._asked(ask, rows, account, deadline)
        headers = parse_lines(answer.headers) + admission.limit.headers(account)
        return Reply(answer.status, answer.body, headers)

    async def _asked(self, ask: Ask, rows: int, account: Account, deadline: Deadline) -> Answer:
        limit = self._admission.limit
        try:
            answer = await self._replicas.ask(FrameKind.INFER, ask, rows, deadline)
        except Problem as problem:
            limit.give_back_after(problem, account, rows)
            raise
        if answer.status >= 500:
            limit.give_back(account, rows)
        return answer


def _pack(
    question: Question, head: InferHead, principal: str, body: bytes, deadline: Deadline
) -> Ask:
    request_id = question.request_id
    return Ask(  # by place: by name it takes three times as long
        max(1, int(deadline.remaining_ms())),
        bytes.fromhex(request_id),
        head.target,
        principal,
        trace_of(question.preamble.traceparent, request_id),
        head.lines,
        body,
    )


def rows_in(body: bytes, json_bytes: int | None = None) -> int:
    """The largest first dimension named in the JSON part: what the call costs, at least 1.

    ``json_bytes``: how long that part is; without it, or beyond the body, all of the body is.
    """
    if json_bytes is None or json_bytes > len(body):
        return _rows_told(body)
    told = body[:json_bytes]
    return _rows_told_before(told) if json_bytes <= KEPT_BYTES_MAX else _rows_told(told)


def _rows_told(told: bytes) -> int:
    shape = _ESCAPED_SHAPE if b"\\u00" in told else _SHAPE
    return max(1, min(ROWS_MAX, max(map(int, shape.findall(told)), default=1)))


_rows_told_before = lru_cache(maxsize=1024)(_rows_told)


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
