"""The life of a prediction on this side: admit, validate, spend, ask a replica, answer."""

from collections.abc import Awaitable, Callable

from contracts.envelope import BadEnvelope
from contracts.frames import Answer, Ask, FrameKind
from contracts.problems import ProblemCode
from gateway.admit import Admission, problem_reply
from gateway.domain.envelope import Envelope, model_in, open_envelope, read_envelope
from gateway.domain.exchange import Question, Reply, parse_lines, trace_of
from gateway.limit import Account
from gateway.metrics import ROWS
from gateway.ports import Replicas
from kit.deadline import Deadline
from kit.errand import IN_A_TASK
from kit.problems import Problem

CLIENT_REQUEST_ID_BYTES_MAX = 128
QUERY = "The query may say explain_features=true (or false) and nothing else."
OffLoop = Callable[[bytes], Awaitable[Envelope]]


class Predict:
    """``POST /predict``. Never raises: every fault is a reply.

    The fast lane asks ``refuse`` first: in an overload most questions end there, and what they cost
    the answers lack. What comes by the ordinary way is refused by ``replicas.ask``.
    """

    def __init__(
        self, admission: Admission, replicas: Replicas, off_loop: OffLoop, inline_bytes_max: int
    ) -> None:
        self._admission = admission
        self._replicas = replicas
        self._slow = replicas.queues.slow
        self._off_loop = off_loop
        self._inline_bytes_max = inline_bytes_max

    def refuse(self, question: Question) -> Reply | None:
        """The reply to a known caller who would wait in vain, before the body is read and anything
        is begun; else None."""
        if not self._slow:
            return None
        admission = self._admission
        try:
            deadline = admission.deadline(question.preamble.timeout_ms)
            if admission.principal_now(question.preamble) is None:
                return None
        except Problem as problem:
            return problem_reply(problem, question.request_id, "/predict")
        hopeless = self._replicas.hopeless(model_in(question.body), deadline)
        if hopeless is None:
            return None
        return problem_reply(hopeless, question.request_id, "/predict")

    async def __call__(self, question: Question) -> Reply:
        """The answer to one question."""
        admission, replicas, preamble = self._admission, self._replicas, question.preamble
        try:
            deadline = admission.deadline(preamble.timeout_ms)
            principal = admission.principal_now(preamble)
            if principal is None:
                await IN_A_TASK
                principal = await admission.principal(preamble)
            if preamble.explain is None:
                raise Problem(ProblemCode.INVALID_INPUT, QUERY)
            admission.enter(principal)
            try:
                if len(question.body) <= self._inline_bytes_max:
                    envelope = open_envelope(question.body)
                else:
                    await IN_A_TASK
                    envelope = await self._off_loop(question.body)
                admission.check_model(principal, envelope.model)
                account = admission.account(principal)
                if not admission.limit.spend_now(account, envelope.rows):
                    await IN_A_TASK
                    if not envelope.read:  # a limit is spent by rows, not by braces
                        envelope = read_envelope(question.body)
                    await admission.limit.spend(account, envelope.rows)
                ask = _pack(question, envelope, principal.caller.principal, deadline)
                try:
                    answer = await replicas.ask(FrameKind.PREDICT, ask, envelope.rows, deadline)
                except Problem as problem:
                    admission.limit.give_back_after(problem, account, envelope.rows)
                    raise
                return self._reply(answer, account, envelope)
            finally:
                admission.leave(principal)
        except Problem as problem:
            return problem_reply(problem, question.request_id, "/predict")
        except BadEnvelope as bad:
            refusal = Problem(bad.code, bad.detail, errors=bad.errors)
            return problem_reply(refusal, question.request_id, "/predict")

    def _reply(self, answer: Answer, account: Account, envelope: Envelope) -> Reply:
        limit, rows = self._admission.limit, envelope.rows
        if answer.status >= 500:
            limit.give_back(account, rows)
        elif not envelope.read and answer.rows < rows:
            limit.give_back(account, rows - answer.rows)
            rows = answer.rows
        if answer.status == 200:
            ROWS.add(amount=rows)
        headers = parse_lines(answer.headers) + limit.headers(account)
        return Reply(answer.status, answer.body, headers)


def _pack(question: Question, envelope: Envelope, principal: str, deadline: Deadline) -> Ask:
    preamble, request_id = question.preamble, question.request_id
    return Ask(  # by place: by name it takes three times as long
        max(1, int(deadline.remaining_ms())),
        bytes.fromhex(request_id),
        envelope.model,
        principal,
        trace_of(preamble.traceparent, request_id),
        (preamble.client_request_id or b"")[:CLIENT_REQUEST_ID_BYTES_MAX],
        envelope.body,
        preamble.explain is True,
        0 if envelope.read else envelope.rows,
    )
