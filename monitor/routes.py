"""HTTP in, one verb call, HTTP out."""

from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from contracts.evidence import Evidence, EvidenceQuery
from contracts.identity import Caller
from contracts.instants import Instant
from contracts.labels import EventsIn, LabelsIn
from contracts.problems import ProblemCode
from contracts.profile import BaselineProfile
from kit.clock import Clock
from kit.identity import needs, require
from kit.problems import Problem, unfit
from kit.schemas import whole_schema
from kit.tasks import TaskOwner
from monitor.alert import TellPeople
from monitor.domain.rows import HOUR_US
from monitor.domain.when import Job, Window, last_hours
from monitor.join_labels import JoinLabels
from monitor.judge import Judge
from monitor.ports import Baselines, Offload, Verdicts
from monitor.report import Report
from monitor.schedule import Schedule
from monitor.weigh import Weigh

Operator = Annotated[Caller, needs("monitor:write")]
WRITE = Depends(require("monitor:write"))
READ, LABEL = Depends(require("monitor:read")), Depends(require("labels:write"))
When = Annotated[Instant | None, Query()]

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
        from_: Annotated[Instant | None, Query(alias="from")] = None,
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
        from_: Annotated[Instant | None, Query(alias="from")] = None,
        until: When = None,
    ) -> dict[str, Any]:
        """Predictions of the window against the labels that have come."""
        window = window_of(clock.now_us(), hours, from_, until)
        return await judge.quality(model, window, version, segment)

    return router


def report_routes(report: Report, baselines: Baselines) -> APIRouter:
    """Pages for people, and what the judge compares with."""
    router = APIRouter(tags=["reports"])

    @router.get("/v1/reports/{model}", dependencies=[READ])
    async def data(model: str, version: str | None = None, until: When = None) -> dict[str, Any]:
        """The last nightly report as JSON."""
        return await report.data(model, version, _us(until))

    @router.get("/v1/reports/{model}/html", dependencies=[READ], response_class=HTMLResponse)
    async def html(model: str, version: str | None = None, until: When = None) -> str:
        """The last nightly report as one self-contained page."""
        return await report.html(model, version, _us(until))

    @router.get("/v1/baselines", dependencies=[READ])
    async def known() -> dict[str, Any]:
        """The versions whose baseline is known here."""
        return {
            "baselines": [
                {
                    "model": one.model,
                    "version": one.version,
                    "state": one.state,
                    "sha256": one.layout.baseline_sha if one.layout else None,
                    "columns": list(one.layout.references) if one.layout else [],
                }
                for one in baselines.versions()
            ]
        }

    @router.get("/v1/baselines/{model}/{version}", dependencies=[READ])
    async def baseline(model: str, version: str) -> BaselineProfile:
        """The profile that live windows of a version are compared with."""
        found = await baselines.learn(model, version)
        if found.layout is None:
            raise Problem(ProblemCode.NOT_FOUND, f"No baseline: {found.state}.")
        return found.layout.profile

    return router


class Silence(BaseModel):
    """``POST /v1/alerts/{fingerprint}/silence``."""

    model_config = ConfigDict(extra="forbid")

    until: Instant
    reason: Annotated[str, Field(min_length=1, max_length=500)]


def alert_routes(alert: TellPeople) -> APIRouter:
    """What people should know."""
    router = APIRouter(tags=["alerts"])

    @router.get("/v1/alerts", dependencies=[READ])
    async def alerts(model: str | None = None, everything: bool = False) -> dict[str, Any]:
        """Alerts that are not OK, worst first; ``everything`` lists all with a memory."""
        return {"alerts": await alert.listed(model, everything)}

    @router.post("/v1/alerts/{fingerprint}/ack")
    async def acknowledge(fingerprint: str, caller: Operator) -> dict[str, Any]:
        """You have seen it: no further messages until it ends."""
        return await alert.acknowledge(fingerprint, caller.principal)

    @router.post("/v1/alerts/{fingerprint}/silence", dependencies=[WRITE])
    async def silence(fingerprint: str, body: Silence) -> dict[str, Any]:
        """No messages about it until then."""
        until_us = int(body.until.timestamp() * 1_000_000)
        return await alert.silence(fingerprint, until_us, body.reason)

    return router


def run_routes(
    schedule: Schedule, verdicts: Verdicts, ask: Offload, tasks: TaskOwner, clock: Clock
) -> APIRouter:
    """Runs of the judge."""
    router = APIRouter(tags=["runs"])

    @router.post("/v1/drift/{model}/runs", status_code=202, dependencies=[WRITE])
    async def run_now(
        model: str,
        hours: Annotated[int, Query(ge=1, le=24 * WINDOW_DAYS_MAX)] = 24,
        from_: Annotated[Instant | None, Query(alias="from")] = None,
        until: When = None,
    ) -> dict[str, Any]:
        """Begin a run of any window; ask for it until its state is done."""
        window = window_of(clock.now_us(), hours, from_, until)
        run = await schedule.on_demand(model, window)
        tasks.start(f"run-{run.id}", lambda: schedule.finish(run))
        return asdict(run)

    @router.get("/v1/drift/{model}/runs", dependencies=[READ])
    async def runs(
        model: str,
        job: Job | None = None,
        limit: Annotated[int, Query(ge=1, le=500)] = 30,
    ) -> dict[str, Any]:
        """The latest runs, newest window first."""
        found = await ask(lambda: verdicts.runs(model, job, limit))
        return {"runs": [asdict(run) for run in found]}

    @router.get("/v1/drift/{model}/runs/{run_id}", dependencies=[READ])
    async def run(model: str, run_id: str) -> dict[str, Any]:
        """One run with its progress and result."""
        found = await ask(lambda: verdicts.run(run_id))
        if found is None or found.model != model:
            raise Problem(ProblemCode.NOT_FOUND, "There is no such run.")
        return asdict(found)

    return router


async def _read(request: Request, kind: type[M]) -> M:
    """The body, read by pydantic's JSON mode: strict types, yet times may come as text."""
    try:
        return kind.model_validate_json(await request.body())
    except ValidationError as error:
        raise unfit(error) from error


def _body(kind: type[BaseModel]) -> dict[str, Any]:
    return {
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": whole_schema(kind)}},
        }
    }


def window_of(now_us: int, hours: int, from_: datetime | None, until: datetime | None) -> Window:
    """The hours asked for; without times, the last ``hours`` up to the running one."""
    last = last_hours(now_us, hours)
    if until is not None:
        last = Window(_hour(until) - hours, _hour(until))
    if from_ is not None:
        last = Window(_hour(from_), last.until_hour)
    if last.until_hour <= last.from_hour:
        raise Problem(ProblemCode.INVALID_INPUT, "The window must end after it begins.")
    if last.hours > 24 * WINDOW_DAYS_MAX:
        raise Problem(ProblemCode.INVALID_INPUT, f"A window holds at most {WINDOW_DAYS_MAX} days.")
    return last


def _us(at: datetime | None) -> int | None:
    return None if at is None else int(at.timestamp() * 1_000_000)


def _hour(at: datetime) -> int:
    return int(at.timestamp() * 1_000_000) // HOUR_US
