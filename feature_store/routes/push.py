"""``POST /v1/features/push``: JSON rows, or an Arrow stream."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Literal

import pyarrow as pa
from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field

from contracts.identity import Caller
from contracts.problems import ProblemCode
from feature_store.domain.arrow_stream import UnfitStream, read_stream
from feature_store.domain.intake import RefusedBatch
from feature_store.push import Pushed, Pusher
from kit.identity import needs
from kit.json_bodies import json_body
from kit.problems import Problem
from shared_features import UnknownRef

ARROW_MEDIA_TYPE = "application/vnd.apache.arrow.stream"
QUARANTINE_LISTED_MAX = 100
LOG_LOST = (
    "The feature log was opened empty, but the online store holds rows of another: bring the log "
    "back, or begin anew with `leadline features materialize --start-over`."
)
Wait = Callable[[int], Awaitable[None]]


class PushAnswer(BaseModel):
    """What became of the rows."""

    accepted: int
    duplicates: int = Field(description="Rows whose event_id was pushed before.")
    quarantined: list[dict[str, Any]] = Field(description="Row number and reason; at most 100.")
    quarantined_total: int
    last_seq: int
    applied: bool = Field(description="Whether the rows are in the online store already.")


def router(
    pusher: Pusher,
    wait_applied: Wait,
    poke: Callable[[], None],
    log_lost: Callable[[], bool],
    *,
    arrow_bytes_max: int,
    rows_max: int,
    applied_wait_s: float,
) -> APIRouter:
    """The push route; ``poke`` tells the applier that there is something to do,
    ``log_lost`` whether rows would go into the wrong log."""
    routes = APIRouter(tags=["features"])

    @routes.post("/v1/features/push")
    async def push(
        request: Request,
        _caller: Annotated[Caller, needs("features:write")],
        source: str | None = None,
        wait: Annotated[Literal["applied"] | None, Query()] = None,
    ) -> PushAnswer:
        """Append rows to a source's log. ``wait=applied`` answers once they are online."""
        if log_lost():
            raise Problem(ProblemCode.DEPENDENCY_UNAVAILABLE, LOG_LOST)
        pushed = await _refusals(_push(pusher, request, source, arrow_bytes_max, rows_max))
        poke()
        applied = False
        if wait == "applied":
            try:
                async with asyncio.timeout(applied_wait_s):
                    await wait_applied(pushed.last_seq)
                applied = True
            except TimeoutError:
                applied = False  # the rows are in the log and will be applied
        return _answer(pushed, applied=applied)

    return routes


async def _push(
    pusher: Pusher, request: Request, source: str | None, arrow_bytes_max: int, rows_max: int
) -> Pushed:
    media_type = request.headers.get("content-type", "").partition(";")[0]
    if media_type == ARROW_MEDIA_TYPE:
        table = await arrow_table(request, arrow_bytes_max)
        return await pusher.push_table(_named(source), table)
    if media_type != "application/json":
        raise Problem(
            ProblemCode.UNSUPPORTED_MEDIA_TYPE,
            f"Send application/json or {ARROW_MEDIA_TYPE}.",
        )
    body = json_body(request.scope)
    if not isinstance(body, dict) or not isinstance(body.get("rows"), list):
        raise Problem(ProblemCode.INVALID_INPUT, "Send an object with source and rows.")
    if not body.keys() <= {"source", "view", "rows"}:
        detail = "Beside source (or view) and rows the body has no members."
        raise Problem(ProblemCode.INVALID_INPUT, detail)
    if len(body["rows"]) > rows_max:
        raise Problem(
            ProblemCode.CONTENT_TOO_LARGE, f"At most {rows_max} rows; send Arrow for more."
        )
    name = body.get("source", body.get("view", source))
    return await pusher.push_rows(_named(name), body["rows"])


def _answer(pushed: Pushed, *, applied: bool) -> PushAnswer:
    listed = [
        {"row": one.row, "reason": one.reason} for one in pushed.quarantined[:QUARANTINE_LISTED_MAX]
    ]
    return PushAnswer(
        accepted=pushed.accepted,
        duplicates=pushed.duplicates,
        quarantined=listed,
        quarantined_total=len(pushed.quarantined),
        last_seq=pushed.last_seq,
        applied=applied,
    )


def _named(source: Any) -> str:
    if not isinstance(source, str):
        raise Problem(ProblemCode.INVALID_INPUT, "Name the source (or view) of the rows.")
    return source


async def _refusals(pushing: Awaitable[Pushed]) -> Pushed:
    try:
        return await pushing
    except UnknownRef as error:
        raise Problem(ProblemCode.NOT_FOUND, "No source or view has this name.") from error
    except RefusedBatch as error:
        text = str(error)  # names columns, whose case is theirs
        raise Problem(ProblemCode.INVALID_INPUT, f"{text[:1].upper()}{text[1:]}.") from error


async def arrow_table(request: Request, bytes_max: int) -> pa.Table:
    """The body, an Arrow IPC stream, as a table. Raises ``Problem``."""
    body = await _bounded_body(request, bytes_max)
    try:
        return await asyncio.to_thread(read_stream, body, bytes_max)
    except UnfitStream as unfit:
        raise Problem(ProblemCode.INVALID_INPUT, str(unfit)) from unfit


async def _bounded_body(request: Request, bytes_max: int) -> bytes:
    """The whole body, refused as soon as it is too large."""
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > bytes_max:
            raise Problem(ProblemCode.CONTENT_TOO_LARGE, f"At most {bytes_max} bytes are taken.")
        parts.append(part)
    return b"".join(parts)
