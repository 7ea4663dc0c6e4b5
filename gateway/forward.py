"""Control calls, passed on to the service that owns the prefix, in the caller's name."""

from collections.abc import AsyncIterator, Iterable, Mapping

from contracts.identity import DEADLINE_HEADER, PRINCIPAL_HEADER, REQUEST_ID_HEADER, SCOPES_HEADER
from contracts.problems import ProblemCode
from gateway.admit import Admission
from gateway.authenticate import Principal
from gateway.domain.access import Service, may
from gateway.domain.exchange import Question
from gateway.ports import StoreAway, Upstream, UpstreamAnswer
from kit.deadline import Deadline
from kit.problems import Problem

_DROPPED = frozenset(
    {
        "authorization", "x-api-key", "cookie", "host", "forwarded", "connection", "keep-alive",
        "proxy-authorization", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
        "expect", "via", "x-real-ip", "x-request-timeout-ms",
    }
)  # fmt: skip
_DROPPED_PREFIXES = ("x-leadline-", "x-forwarded-")


class Forward:
    """Proves the caller, checks the scope of the rule, and passes the call on."""

    def __init__(self, admission: Admission, upstreams: Mapping[Service, Upstream]) -> None:
        self._admission = admission
        self._upstreams = upstreams

    async def admit(self, question: Question, scope: str) -> Principal:
        """The caller, who holds ``scope`` and has paid one row. Raises ``Problem``."""
        principal = await self._admission.principal(question.preamble)
        if not may(principal.caller, scope):
            raise Problem(ProblemCode.FORBIDDEN, f"This needs the scope {scope}.")
        await self._admission.limit.spend(self._admission.account(principal), 1)
        return principal

    async def __call__(
        self,
        service: Service,
        method: str,
        target: str,
        headers: Iterable[tuple[str, str]],
        body: AsyncIterator[bytes] | None,
        *,
        question: Question,
        principal: Principal,
        seconds_max: float,
    ) -> UpstreamAnswer:
        """The service's own answer. Raises ``Problem`` when there is none."""
        deadline = self._deadline(question, seconds_max)
        passed = {name: value for name, value in headers if passes(name)}
        if body is None:
            passed.pop("content-length", None)
        passed |= caller_headers(principal, question.request_id)
        passed[DEADLINE_HEADER] = str(int(deadline.remaining_ms()))
        try:
            return await self._upstreams[service].send(method, target, passed, body, deadline)
        except StoreAway:
            detail = f"The {service} service cannot be reached."
            raise Problem(ProblemCode.DEPENDENCY_UNAVAILABLE, detail) from None
        except TimeoutError:
            detail = f"The {service} service did not answer in time."
            raise Problem(ProblemCode.DEADLINE_EXCEEDED, detail, stage=service) from None
        except ConnectionError:
            detail = f"The {service} service broke the connection."
            raise Problem(ProblemCode.BAD_UPSTREAM, detail) from None

    def _deadline(self, question: Question, seconds_max: float) -> Deadline:
        if question.preamble.timeout_ms is None:
            return Deadline.after_ms(seconds_max * 1000)
        return self._admission.deadline(question.preamble.timeout_ms)


def caller_headers(principal: Principal, request_id: str) -> dict[str, str]:
    """How a service is told who calls."""
    return {
        PRINCIPAL_HEADER: principal.caller.principal,
        SCOPES_HEADER: " ".join(sorted(principal.caller.scopes)),
        REQUEST_ID_HEADER: request_id,
    }


def passes(name: str) -> bool:
    """Whether a caller's header goes on; nobody outside may claim to be inside."""
    return name not in _DROPPED and not name.startswith(_DROPPED_PREFIXES)
