"""Who calls a service behind the gateway, and whether they may."""

import hmac
from collections.abc import Awaitable, Callable

from fastapi import Depends, Request
from starlette.datastructures import Headers

from contracts.identity import (
    INTERNAL_CALLER,
    PRINCIPAL_HEADER,
    SCOPES_HEADER,
    SERVICE_TOKEN_HEADER,
    Caller,
)
from contracts.problems import ProblemCode
from kit.problems import Problem


def caller_of(headers: Headers, service_token: str) -> Caller | None:
    """The caller that these headers prove, or None.

    Only a holder of the service token may say who the caller is; without a name the call is the
    platform's own. An empty token proves nothing.
    """
    given = headers.get(SERVICE_TOKEN_HEADER, "")
    if not service_token or not hmac.compare_digest(given.encode(), service_token.encode()):
        return None
    principal = headers.get(PRINCIPAL_HEADER)
    if principal is None:
        return INTERNAL_CALLER
    return Caller(principal, frozenset(headers.get(SCOPES_HEADER, "").split()))


def unproven() -> Problem:
    """The answer to whom no gateway vouches for."""
    return Problem(ProblemCode.UNAUTHENTICATED, "Send an API key through the gateway.")


async def _proven(request: Request) -> Caller:
    caller: Caller | None = request.state.caller
    if caller is None:
        raise unproven()
    return caller


PROVEN = Depends(_proven)
"""For a route whose verb asks for the scope itself, because it keeps the refusal."""


def require(scope: str) -> Callable[[Request], Awaitable[Caller]]:
    """A FastAPI dependency: the caller, who holds ``scope``; otherwise 401 or 403."""

    # A coroutine although it awaits nothing: FastAPI would run a function in a worker thread.
    async def dependency(request: Request) -> Caller:
        caller = await _proven(request)
        if not caller.may(scope):
            raise Problem(ProblemCode.FORBIDDEN, f"This needs the scope {scope}.")
        return caller

    dependency.required_scope = scope  # type: ignore[attr-defined]  # read by the default-deny test
    return dependency


def needs(scope: str) -> object:
    """``caller: Annotated[Caller, needs("registry:read")]`` reads well in a signature."""
    return Depends(require(scope))
