"""``POST /v1/features/historical`` and its jobs."""

from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeVar

import pyarrow as pa
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import FileResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from contracts.identity import Caller
from contracts.problems import ProblemCode
from feature_store.domain.as_of import Mode
from feature_store.domain.intake import parse_value
from feature_store.domain.schema import ARROW_TYPES, INSTANT
from feature_store.join_as_of import (
    InvalidLabels,
    Labels,
    join_as_of,
    labels_of,
    no_collision,
    with_columns,
)
from feature_store.pin import position
from feature_store.ports import HistoricalEngine, LogReader
from feature_store.retrieve import Format, Job, Jobs, TooManyJobs
from feature_store.routes.online import compiled
from feature_store.routes.push import ARROW_MEDIA_TYPE, arrow_table
from kit.identity import needs
from kit.json_bodies import is_json, json_body
from kit.problems import Problem, unfit
from shared_features import Catalogue, CompiledService, DefinitionError, MissingField

T = TypeVar("T")
PARQUET_MEDIA_TYPE = "application/vnd.apache.parquet"


class Retrieval(BaseModel):
    """What is asked for, when the rows come as JSON."""

    model_config = ConfigDict(extra="forbid")

    entity_rows: list[dict[str, Any]] = Field(min_length=1, max_length=100_000)
    feature_refs: list[str] | None = None
    feature_service: str | None = None
    aliases: dict[str, dict[str, str]] = Field(default_factory=dict)


class JobAnswer(BaseModel):
    """How far a retrieval is."""

    id: str
    state: Literal["waiting", "running", "done", "failed"]
    progress: float = Field(ge=0, le=1)
    rows: int
    error: str
    result: str | None = Field(description="Where the rows can be fetched once it is done.")


def router(
    catalogue: Catalogue,
    log: LogReader,
    engine: HistoricalEngine,
    jobs: Jobs,
    *,
    rows_max: int,
    arrow_bytes_max: int,
) -> APIRouter:
    """The routes of historical retrieval."""
    routes = APIRouter(tags=["features"])

    @routes.post("/v1/features/historical", status_code=202)
    async def historical(
        request: Request,
        _caller: Annotated[Caller, needs("features:read")],
        feature_refs: Annotated[list[str] | None, Query()] = None,
        feature_service: str | None = None,
        at: str = "event_time",
        mode: Mode = "known",
        as_of_seq: Annotated[int | None, Query(ge=0, lt=2**63)] = None,
        statuses: bool = True,
        file_format: Annotated[Format, Query(alias="format")] = "arrow",
    ) -> JobAnswer:
        """Join features to rows as of each row's instant. Rows: an Arrow stream, or JSON with
        ISO 8601 instants in the column ``at``."""
        table, service = await _asked(
            request, catalogue, feature_refs, feature_service, at, arrow_bytes_max
        )
        if len(table) > rows_max:
            raise Problem(ProblemCode.CONTENT_TOO_LARGE, f"At most {rows_max} rows in one job.")
        # what the log holds now is what the job sees, however long it waits
        pin = _checked(lambda: position(log, as_of_seq))
        labels = _checked(lambda: _labels(service, table, at))

        def join(progress: Callable[[int, int], None]) -> pa.Table:
            joined = join_as_of(
                service, labels, log, engine, mode=mode, as_of_seq=pin, progress=progress
            )
            return with_columns(table, joined, statuses=statuses)

        try:
            return _answer(jobs.start(join, len(table), file_format))
        except TooManyJobs as error:
            raise Problem(ProblemCode.OVERLOADED, "Too many retrievals wait.") from error

    _follow(routes, jobs)
    return routes


def _follow(routes: APIRouter, jobs: Jobs) -> None:
    @routes.get("/v1/features/jobs/{job_id}")
    async def job(job_id: str, _caller: Annotated[Caller, needs("features:read")]) -> JobAnswer:
        """How far a retrieval is."""
        return _answer(_found(jobs, job_id))

    @routes.get("/v1/features/jobs/{job_id}/result")
    async def result(job_id: str, _caller: Annotated[Caller, needs("features:read")]) -> Response:
        """The rows of a retrieval that is done."""
        found = _found(jobs, job_id)
        if found.path is None:
            raise Problem(ProblemCode.CONFLICT, f"The retrieval is {found.state}.")
        kind = PARQUET_MEDIA_TYPE if found.format == "parquet" else ARROW_MEDIA_TYPE
        return FileResponse(found.path, media_type=kind)


def _labels(service: CompiledService, table: pa.Table, at: str) -> Labels:
    """The labels, with all that the join will need of them."""
    labels = labels_of(table, at)
    no_collision(service, labels)
    for name, dtype in {**service.entity_columns, **service.request_fields}.items():
        labels.column(name, dtype, "the retrieval")
    return labels


async def _asked(
    request: Request,
    catalogue: Catalogue,
    refs: list[str] | None,
    service: str | None,
    at: str,
    arrow_bytes_max: int,
) -> tuple[pa.Table, CompiledService]:
    media_type = request.headers.get("content-type", "").partition(";")[0]
    if media_type == ARROW_MEDIA_TYPE:
        table = await arrow_table(request, arrow_bytes_max)
        return table, compiled(catalogue, refs, service, {})
    if not is_json(request.scope):
        detail = f"Send application/json or {ARROW_MEDIA_TYPE}."
        raise Problem(ProblemCode.UNSUPPORTED_MEDIA_TYPE, detail)
    try:
        asked = Retrieval.model_validate(json_body(request.scope))
    except ValidationError as error:
        raise unfit(error) from error
    plan = compiled(
        catalogue,
        asked.feature_refs or refs,
        asked.feature_service or service,
        asked.aliases,
    )
    return _checked(lambda: table_of_rows(asked.entity_rows, plan, at)), plan


def table_of_rows(rows: list[dict[str, Any]], service: CompiledService, at: str) -> pa.Table:
    """JSON rows as a table: keys and request fields as their dtypes, ``at`` as an instant."""

    wanted = {**service.entity_columns, **service.request_fields, at: "timestamp"}
    columns: dict[str, Any] = {}
    for name, dtype in wanted.items():
        if any(name not in row for row in rows):
            raise MissingField(name, "the retrieval")
        values = [None if r[name] is None else parse_value(r[name], dtype, name) for r in rows]
        plain = pa.int64() if dtype == "timestamp" else ARROW_TYPES[dtype]
        array = pa.array(values, plain)
        columns[name] = array.cast(INSTANT) if dtype == "timestamp" else array
    return pa.table(columns)


def _checked(check: Callable[[], T]) -> T:
    try:
        return check()
    except (InvalidLabels, MissingField, DefinitionError, ValueError) as error:
        raise Problem(ProblemCode.INVALID_INPUT, f"{str(error).rstrip('.')}.") from error


def _found(jobs: Jobs, job_id: str) -> Job:
    job = jobs.get(job_id)
    if job is None:
        raise Problem(ProblemCode.NOT_FOUND, "There is no such job, or its result is gone.")
    return job


def _answer(job: Job) -> JobAnswer:
    result = f"/v1/features/jobs/{job.id}/result" if job.state == "done" else None
    return JobAnswer(
        id=job.id,
        state=job.state,
        progress=job.progress,
        rows=job.rows,
        error=job.error,
        result=result,
    )
