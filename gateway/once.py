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
"""When a memory that did not hear what became of a claim is told again."""
UNHEARD_MAX = 256
"""So many wait to be told; what comes on top blocks its key until the claim runs out by itself."""
ANSWER_BYTES_MAX = 1024 * 1024
"""A larger answer is not kept; its key is free again."""
_PENDING = b"?"
"""Behind the mark of what is asked: no answer yet, but who will give it."""
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
        self._unheard = 0

    async def __call__(self, question: Question, key: bytes) -> Reply:
        """The answer, or the one that was given before (header ``idempotent-replay: true``)."""
        try:
            name = await self._name(question, key)
        except Problem as problem:
            return problem_reply(problem, question.request_id, "/predict")
        asked = question.body + str(question.preamble.explain).encode()
        mark = hashlib.sha256(asked).hexdigest().encode()
        claim = mark + _PENDING + question.request_id.encode()
        try:
            found = await self._kept.claim(name, claim, PENDING_MS)
        except StoreAway:  # asked as if new; the claim may stand there all the same
            found = None
        if found is not None:
            return _replay(question, mark, found)
        kept = None
        try:
            reply = await self._predict(question)
            kept = _to_keep(reply, mark)
            if reply.status >= 400 and kept is not None and not await self._pays(question):
                kept = None
        finally:
            await self._settle(name, claim, kept)
        return reply

    async def _pays(self, question: Question) -> bool:
        """Whether the caller had a row left for its refusal, which cost none: what the memory
        holds is to be no more than what callers may ask."""
        principal = await self._admission.principal(question.preamble)
        try:
            await self._admission.limit.spend(self._admission.account(principal), 1)
        except Problem:
            return False
        return True

    async def _name(self, question: Question, key: bytes) -> str:
        if not 1 <= len(key) <= KEY_BYTES_MAX:
            detail = f"An Idempotency-Key has 1 to {KEY_BYTES_MAX} bytes."
            raise Problem(ProblemCode.INVALID_INPUT, detail)
        principal = await self._admission.principal(question.preamble)
        return f"{principal.account}:{hashlib.sha256(key).hexdigest()}"

    async def _settle(self, name: str, claim: bytes, kept: bytes | None) -> None:
        """Keep an answer, or free its key: now, or else a little later."""
        if not await self._told(name, claim, kept) and self._unheard < UNHEARD_MAX:
            self._unheard += 1
            self._tasks.start("settle_later", partial(self._settle_later, name, claim, kept))

    async def _settle_later(self, name: str, claim: bytes, kept: bytes | None) -> None:
        try:
            for seconds in TRIES_AFTER_S:
                await asyncio.sleep(seconds)
                if await self._told(name, claim, kept):
                    return
        finally:
            self._unheard -= 1

    async def _told(self, name: str, claim: bytes, kept: bytes | None) -> bool:
        try:
            if kept is None:
                await self._kept.release(name, claim)
            else:
                await self._kept.keep(name, claim, kept, KEPT_MS)
        except StoreAway:
            return False
        return True


def _to_keep(reply: Reply, mark: bytes) -> bytes | None:
    if reply.status >= 500 or reply.status in _ASK_AGAIN:
        return None
    kept = mark + _pack(reply)
    return kept if len(kept) <= ANSWER_BYTES_MAX else None


def _replay(question: Question, mark: bytes, found: bytes) -> Reply:
    problem = None
    if found[: len(mark)] != mark:
        detail = "This Idempotency-Key came with another request before."
        problem = Problem(ProblemCode.IDEMPOTENCY_MISMATCH, detail)
    elif found.startswith(_PENDING, len(mark)):
        detail = "The first request with this Idempotency-Key is still being answered."
        problem = Problem(ProblemCode.CONFLICT, detail, retry_after_s=1, retryable=True)
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
