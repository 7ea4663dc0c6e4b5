"""What the headers of a change say: which state it was decided on, and whether it is a repeat."""

from hashlib import sha256
from typing import Annotated

from fastapi import Depends, Header, Path, Query, Request

from contracts.identity import Caller
from contracts.problems import ProblemCode
from kit.identity import PROVEN, needs
from kit.problems import Problem
from registry.ports import Once
from registry.preconditions import Expected

Reader = Annotated[Caller, needs("registry:read")]
Somebody = Annotated[Caller, PROVEN]
"""Where the verb asks for the scope, and a refusal goes into the audit log."""
Writer = Annotated[Caller, needs("registry:write")]
Platform = Annotated[Caller, needs("admin")]
ActId = Annotated[str, Path(max_length=128)]
"""Of a rollout or an experiment."""
DryRun = Annotated[bool, Query(description="Do all of it, keep none of it, and show the result.")]


def etag(revision: int | str) -> str:
    """The entity tag of a revision."""
    return f'"{revision}"'


def plain_tag(tag: str) -> str:
    """What stands in an entity tag, weak or not."""
    return tag.strip().removeprefix("W/").strip('"')


def revision_of(tag: str) -> int | None:
    """The revision in an entity tag; None for ``*``. Raises ``Problem``."""
    plain = plain_tag(tag)
    if plain == "*":
        return None
    if not plain.isdecimal() or len(plain) > 18:
        raise Problem(ProblemCode.INVALID_INPUT, "If-Match is an ETag that was read here, or *.")
    return int(plain)


def _expected(if_match: Annotated[str | None, Header()] = None) -> Expected:
    if if_match is None:
        detail = "Send If-Match with the ETag that was read (or * to accept any state)."
        return Expected(None, Problem(ProblemCode.PRECONDITION_REQUIRED, detail))
    try:
        return Expected(revision_of(if_match))
    except Problem as fault:
        return Expected(None, fault)


Key = Annotated[str | None, Header(max_length=128)]


async def _once(request: Request, idempotency_key: Key = None) -> Once | None:
    return _asked_once(request, idempotency_key, await request.body())


async def _once_by_content(request: Request, idempotency_key: Key = None) -> Once | None:
    return _asked_once(request, idempotency_key, b"")


def _asked_once(request: Request, key: str | None, body: bytes) -> Once | None:
    if key is None:
        return None
    caller: Caller | None = request.state.caller
    asked = f"{request.method} {request.url.path}?{request.url.query}\n".encode() + body
    return Once(caller.principal if caller else "", key, sha256(asked).hexdigest())


IfMatch = Annotated[Expected, Depends(_expected)]
IdempotencyKey = Annotated[Once | None, Depends(_once)]
ContentKey = Annotated[Once | None, Depends(_once_by_content)]
"""Where the body is large or streamed: what it holds is added to the digest by the verb."""
