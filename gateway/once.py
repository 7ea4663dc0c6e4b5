"""A prediction asked with an ``Idempotency-Key``: however often it is sent, it is answered once."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from functools import partial

import orjson

from contracts.problems import ProblemCode
from gateway.admit import Admission, problem_reply
from gateway.domain.exchange import Question, Reply
from gateway.ports import Kept, StoreAway
from kit.problems import Problem
from kit.tasks import TaskOwner

KEY_BYTES_MAX = 255
PENDING_MS = 65_000
"""Longer than any request may take: a gateway that died in between blocks its key no longer."""
KEPT_MS = 600_000
TRIES_AFTER_S = (0.05, 0.2, 0.75, 3.0)
"""When an answer that the memory did not take is offered to it again. All together less than what
``PENDING_MS`` leaves: then the key may be another's."""
_ASK_AGAIN = frozenset({401, 403, 404, 408, 429})
"""Not of the question: the next time the model may be served, the caller allowed."""


class Once:
    """``/predict`` behind a memory of answers. With the memory away it is asked as if new."""

    def __init__(
        self,
        admission: Admission,
        predict: Callable[[Question], Awaitable[Reply]],
        kept: Kept,
        tasks: TaskOwner,
    ) -> None:
        self._admission = admission
        self._predict = predict
        self._kept = kept
        self._tasks = tasks

    async def __call__(self, question: Question, key: bytes) -> Reply:
        """The answer, or the one that was given before (header ``idempotent-replay: true``)."""
        try:
            name = await self._name(question, key)
            asked = question.body + str(question.preamble.explain).encode()
            mark = hashlib.sha256(asked).hexdigest().encode()
            found = await self._kept.claim(name, mark, PENDING_MS)
        except Problem as problem:
            return problem_reply(problem, question.request_id, "/predict")
        except StoreAway:
            return await self._predict(question)
        if found is not None:
            return _replay(question, mark, found)
        reply = Reply(500, b"", ())
        try:
            reply = await self._predict(question)
        finally:
            if not await self._settle(name, mark, reply):
                again = partial(self._settle_later, name, mark, reply)
                self._tasks.start("settle_once", again)
        return reply

    async def _name(self, question: Question, key: bytes) -> str:
        if not 1 <= len(key) <= KEY_BYTES_MAX:
            detail = f"An Idempotency-Key has 1 to {KEY_BYTES_MAX} bytes."
            raise Problem(ProblemCode.INVALID_INPUT, detail)
        principal = await self._admission.principal(question.preamble)
        return f"{principal.account}:{hashlib.sha256(key).hexdigest()}"

    async def _settle(self, name: str, mark: bytes, reply: Reply) -> bool:
        """Keep the answer, or free its key; whether the memory took it."""
        try:
            if reply.status >= 500 or reply.status in _ASK_AGAIN:
                await self._kept.release(name)
            else:
                await self._kept.keep(name, mark + _pack(reply), KEPT_MS)
        except StoreAway:
            return False
        return True

    async def _settle_later(self, name: str, mark: bytes, reply: Reply) -> None:
        """Else who asks again would hear of a conflict until the claim runs out by itself."""
        for seconds in TRIES_AFTER_S:
            await asyncio.sleep(seconds)
            if await self._settle(name, mark, reply):
                return


def _replay(question: Question, mark: bytes, found: bytes) -> Reply:
    problem = None
    if found[: len(mark)] != mark:
        detail = "This Idempotency-Key came with another request before."
        problem = Problem(ProblemCode.IDEMPOTENCY_MISMATCH, detail)
    elif len(found) == len(mark):
        detail = "The first request with this Idempotency-Key is still being answered."
        problem = Problem(ProblemCode.CONFLICT, detail)
    if problem is not None:
        return problem_reply(problem, question.request_id, "/predict")
    reply = _unpack(found[len(mark) :])
    return Reply(reply.status, reply.body, (*reply.headers, (b"idempotent-replay", b"true")))


def _pack(reply: Reply) -> bytes:
    headers = [
        (name.decode("latin-1"), value.decode("latin-1"))
        for name, value in reply.headers
        if not name.startswith(b"ratelimit")
    ]
    return orjson.dumps([reply.status, headers]) + b"\n" + reply.body


def _unpack(kept: bytes) -> Reply:
    head, _, body = kept.partition(b"\n")
    status, headers = orjson.loads(head)
    pairs = tuple((name.encode("latin-1"), value.encode("latin-1")) for name, value in headers)
    return Reply(status, body, pairs)
