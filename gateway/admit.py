"""Who comes in: a proven caller, within its scopes, its limit and its share in flight."""

import asyncio
from functools import lru_cache

from contracts.problems import ProblemCode
from gateway.authenticate import Authenticate, Principal, credential_in, mark_of
from gateway.domain.exchange import Headers, Preamble, Reply
from gateway.limit import Account, Limit, OverLimit
from gateway.metrics import IN_FLIGHT, REFUSED
from kit.deadline import Deadline
from kit.problems import Problem, problem_body

REQUEST_TIMEOUT_MS_MAX = 60_000
TIMEOUT_DIGITS_MAX = 5


class Admission:
    """What the verbs that spend something ask first."""

    def __init__(
        self,
        authenticate: Authenticate,
        limit: Limit,
        *,
        in_flight_max: int,
        in_flight_per_key_max: int,
        request_timeout_ms: int,
    ) -> None:
        self.authenticate = authenticate
        self.limit = limit
        self._in_flight_max = in_flight_max
        self._in_flight_per_key_max = in_flight_per_key_max
        self._request_timeout_ms = request_timeout_ms
        self._in_flight = 0
        IN_FLIGHT.set_function(lambda: self._in_flight)

    def principal_now(self, preamble: Preamble) -> Principal | None:
        """The caller, or None when only ``principal`` can tell. Raises ``Problem``."""
        credential = preamble.credential
        if credential is None:
            credential = credential_in(preamble.authorization, preamble.api_key)
            preamble.credential, preamble.mark = credential, mark_of(credential)
        known = self.authenticate.now(credential, preamble.mark)
        if known is not None:
            preamble.principal = known.caller.principal
        return known

    async def principal(self, preamble: Preamble) -> Principal:
        """The caller, within what it would wait. Raises ``Problem`` (unauthenticated, or who was
        late)."""
        known = self.principal_now(preamble)
        if known is None:
            deadline = self.deadline(preamble.timeout_ms)
            try:
                async with asyncio.timeout(deadline.remaining_s()):
                    known = await self.authenticate.later(preamble.credential or b"")
            except TimeoutError:
                detail = "The keys of the token's issuer did not come in time."
                raise Problem(ProblemCode.DEADLINE_EXCEEDED, detail, stage="issuer") from None
            preamble.principal = known.caller.principal
        return known

    def deadline(self, timeout_ms: bytes | None) -> Deadline:
        """When the answer is worth nothing any more. Raises ``Problem`` (invalid-input)."""
        if timeout_ms is None:
            return Deadline.after_ms(self._request_timeout_ms)
        whole = timeout_ms.isdigit() and len(timeout_ms) <= TIMEOUT_DIGITS_MAX
        if not whole or not 1 <= int(timeout_ms) <= REQUEST_TIMEOUT_MS_MAX:
            detail = f"X-Request-Timeout-Ms is a whole number from 1 to {REQUEST_TIMEOUT_MS_MAX}."
            raise Problem(ProblemCode.INVALID_INPUT, detail)
        return Deadline.after_ms(int(timeout_ms))

    def enter(self, principal: Principal) -> None:
        """Count a request in. Raises ``Problem`` (overloaded)."""
        if self._in_flight >= self._in_flight_max:
            raise Problem(ProblemCode.OVERLOADED, "The gateway has as much in flight as it may.")
        if principal.in_flight >= self._in_flight_per_key_max:
            detail = f"One caller may have {self._in_flight_per_key_max} requests in flight."
            raise Problem(ProblemCode.OVERLOADED, detail)
        self._in_flight += 1
        principal.in_flight += 1

    def leave(self, principal: Principal) -> None:
        """Count it out again."""
        self._in_flight -= 1
        principal.in_flight -= 1

    def check_model(self, principal: Principal, model: str) -> None:
        """Whether the caller may ask this model. Raises ``Problem`` (forbidden)."""
        if model in principal.models:
            return
        if not principal.caller.may(f"predict:{model}"):
            detail = "This needs the scope predict, or predict:<model> for this model."
            raise Problem(ProblemCode.FORBIDDEN, detail)
        if len(principal.models) < 1000:
            principal.models.add(model)

    def account(self, principal: Principal) -> Account:
        """Whose limit is spent."""
        return self.limit.account(principal.account, principal.policy)


def problem_reply(problem: Problem, request_id: str, instance: str) -> Reply:
    """A problem as an answer; counted."""
    REFUSED.add((problem.code.value,))
    headers = _headers_of(problem.code, problem.retry_after_s) + limit_headers(problem)
    return Reply(problem.code.status, problem_body(problem, request_id, instance), headers)


@lru_cache(maxsize=1024)  # a refusal is to cost less than an answer
def _headers_of(code: ProblemCode, retry_after_s: int | None) -> Headers:
    named = Problem(code, "", retry_after_s=retry_after_s).headers()
    return tuple((name.encode(), value.encode()) for name, value in named.items())


def limit_headers(problem: Problem) -> Headers:
    """What is left of the limit that refused; none where no limit did."""
    return problem.headers_of_limit if isinstance(problem, OverLimit) else ()
