"""The life of a prediction on this side: admit, validate, spend, ask a replica, answer."""

from collections.abc import Awaitable, Callable

from contracts.frames import Answer, Ask, FrameKind
from gateway.admit import Admission, problem_reply
from gateway.domain.envelope import BadEnvelope, Envelope, read_envelope
from gateway.domain.exchange import Question, Reply, parse_lines, trace_of
from gateway.metrics import ROWS
from gateway.ports import Replicas
from kit.deadline import Deadline
from kit.problems import Problem

CLIENT_REQUEST_ID_BYTES_MAX = 128
OffLoop = Callable[[bytes], Awaitable[Envelope]]


class Predict:
    """``POST /predict``. Never raises: every fault is a reply."""

    def __init__(
        self, admission: Admission, replicas: Replicas, off_loop: OffLoop, inline_bytes_max: int
    ) -> None:
        self._admission = admission
        self._replicas = replicas
        self._off_loop = off_loop
        self._inline_bytes_max = inline_bytes_max

    async def __call__(self, question: Question) -> Reply:
        """The answer to one question."""
        try:
            return await self._answer(question)
        except Problem as problem:
            return problem_reply(problem, question.request_id, "/predict")

    async def _answer(self, question: Question) -> Reply:
        admission = self._admission
        deadline = admission.deadline(question.timeout_ms)
        principal = admission.principal_now(question.authorization, question.api_key)
        if principal is None:
            principal = await admission.principal(question.authorization, question.api_key)
        admission.enter(principal)
        try:
            envelope = await self._read(question.body)
            admission.check_model(principal, envelope.model)
            account = admission.account(principal)
            if not admission.limit.spend_now(account, envelope.rows):
                await admission.limit.spend(account, envelope.rows)
            answer = await self._ask(question, envelope, principal.caller.principal, deadline)
            if answer.status >= 500:
                admission.limit.give_back(account, envelope.rows)
            elif answer.status == 200:
                ROWS.add(amount=envelope.rows)
            headers = parse_lines(answer.headers) + admission.limit.headers(account)
            return Reply(answer.status, answer.body, headers)
        finally:
            admission.leave(principal)

    async def _read(self, body: bytes) -> Envelope:
        try:
            if len(body) <= self._inline_bytes_max:
                return read_envelope(body)
            return await self._off_loop(body)
        except BadEnvelope as bad:
            raise Problem(bad.code, bad.detail, errors=bad.errors) from None

    async def _ask(
        self, question: Question, envelope: Envelope, principal: str, deadline: Deadline
    ) -> Answer:
        ask = Ask(
            remaining_ms=max(1, int(deadline.remaining_ms())),
            request_id=bytes.fromhex(question.request_id),
            target=envelope.model,
            principal=principal,
            traceparent=trace_of(question.traceparent, question.request_id),
            headers=(question.client_request_id or b"")[:CLIENT_REQUEST_ID_BYTES_MAX],
            body=envelope.body,
            explain=question.explain,
        )
        return await self._replicas.ask(FrameKind.PREDICT, ask, envelope.rows, deadline)
