"""HTTP in, one verb call, HTTP out."""

from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Query, Request
from fastapi.exceptions import RequestValidationError
from pydantic import AwareDatetime, BaseModel, ValidationError

from contracts.evidence import Evidence, EvidenceQuery
from contracts.labels import EventsIn, LabelsIn
from contracts.problems import ProblemCode
from kit.clock import Clock
from kit.identity import require
from kit.problems import Problem
from monitor.domain.rows import HOUR_US
from monitor.join_labels import JoinLabels
from monitor.judge import Judge, Window, last_hours
from monitor.weigh import Weigh

READ, LABEL = Depends(require("monitor:read")), Depends(require("labels:write"))
When = Annotated[AwareDatetime | None, Query()]

M = TypeVar("M", bound=BaseModel)

WINDOW_DAYS_MAX = 400


def label_routes(join_labels: JoinLabels) -> APIRouter:
    """Truth and business events come in."""
    router = APIRouter(tags=["labels"])

    @router.post("/v1/labels", dependencies=[LABEL], openapi_extra=_body(LabelsIn))
    async def labels(request: Request) -> dict[str, Any]:
        """Store labels and join them to their predictions; sending them again changes nothing."""
        body = await _read(request, LabelsIn)
        return asdict(await join_labels.labels(body.labels))

    @router.post("/v1/events", dependencies=[LABEL], openapi_extra=_body(EventsIn))
    async def events(request: Request) -> dict[str, Any]:
        """Store business events, each event id once."""
        body = await _read(request, EventsIn)
        return asdict(await join_labels.events(body.events))

    return router


def evidence_routes(weigh: Weigh) -> APIRouter:
    """What the registry asks about a rollout."""
    router = APIRouter(tags=["evidence"])

    @router.post("/v1/evidence", dependencies=[READ])
    async def evidence(query: EvidenceQuery) -> Evidence:
        """Estimates, intervals and e-values for every guard asked about."""
        return await weigh.evidence(query)

    return router


def judge_routes(judge: Judge, clock: Clock) -> APIRouter:
    """What the monitor thinks of a model."""
    router = APIRouter(tags=["drift and quality"])

    @router.get("/v1/drift/{model}", dependencies=[READ])
    async def drift(
        model: str,
        version: str | None = None,
        segment: str = "",
        hours: Annotated[int, Query(ge=1, le=24 * WINDOW_DAYS_MAX)] = 24,
        from_: Annotated[AwareDatetime | None, Query(alias="from")] = None,
        until: When = None,
    ) -> dict[str, Any]:
        """Every column of every served version against its training baseline."""
        window = window_of(clock.now_us(), hours, from_, until)
        return await judge.drift(model, window, version, segment)

    @router.get("/v1/quality/{model}", dependencies=[READ])
    async def quality(
        model: str,
        version: str | None = None,
        segment: str = "",
        hours: Annotated[int, Query(ge=1, le=24 * WINDOW_DAYS_MAX)] = 24 * 7,
        from_: Annotated[AwareDatetime | None, Query(alias="from")] = None,
        until: When = None,
    ) -> dict[str, Any]:
        """Predictions of the window against the labels that have come."""
        window = window_of(clock.now_us(), hours, from_, until)
        return await judge.quality(model, window, version, segment)

    return router


async def _read(request: Request, kind: type[M]) -> M:
    """The body, read by pydantic's JSON mode: strict types, yet times may come as text."""
    try:
        return kind.model_validate_json(await request.body())
    except ValidationError as error:
        raise RequestValidationError(
            [{**one, "loc": ("body", *one["loc"])} for one in error.errors()]
        ) from error


def _body(kind: type[BaseModel]) -> dict[str, Any]:
    return {
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": kind.model_json_schema()}},
        }
    }


def window_of(now_us: int, hours: int, from_: datetime | None, until: datetime | None) -> Window:
    """The hours asked for; without times, the last ``hours`` up to the running one."""
    last = last_hours(now_us, hours)
    if until is not None:
        last = Window(_hour(until) - hours, _hour(until))
    if from_ is not None:
        last = Window(_hour(from_), last.until_hour)
    if not 0 < last.until_hour - last.from_hour <= 24 * WINDOW_DAYS_MAX:
        raise Problem(ProblemCode.INVALID_INPUT, "The window must end after it begins.")
    return last


def _hour(at: datetime) -> int:
    return int(at.timestamp() * 1_000_000) // HOUR_US
