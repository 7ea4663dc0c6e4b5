"""What the store knows about itself: definitions, quarantine, freshness, histories, consistency."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from contracts.identity import Caller
from contracts.problems import ProblemCode
from feature_store.adapters.quarantine_files import QuarantineFiles
from feature_store.domain.intake import parse_instant
from feature_store.freshness import freshness
from feature_store.ports import HistoricalEngine, LogReader
from feature_store.recall import recall
from feature_store.verify import Audit, Sample, Verifier
from kit.clock import Clock
from kit.identity import needs
from kit.problems import Problem
from kit.redis_pipeline import RedisAway
from shared_features import Catalogue, DefinitionError, MissingField, UnknownRef, View

SAMPLES_MAX = 100
Redefine = Callable[[bool], dict[str, list[str]]]
"""Reads the definitions anew and, unless it is a dry run, adopts them; says what differs."""


class Redefinition(BaseModel):
    """Whether to adopt the definitions or only to say what would change."""

    dry_run: bool = False


class Served(BaseModel):
    """One row as it was served."""

    model_config = ConfigDict(extra="forbid")

    keys: dict[str, Any]
    at_us: int
    applied_seq: int = Field(ge=0)
    values: dict[str, float | int | str | bool | None] = Field(min_length=1, max_length=200)


class ServedSamples(BaseModel):
    """Rows to be judged."""

    samples: list[Served] = Field(min_length=1, max_length=SAMPLES_MAX)


def router(
    catalogue: Catalogue,
    log: LogReader,
    engine: HistoricalEngine,
    quarantine: QuarantineFiles,
    applied: Callable[[], Mapping[str, int]],
    newest_us: Callable[[], Mapping[str, int]],
    verifier: Verifier,
    clock: Clock,
    redefine: Redefine,
) -> APIRouter:
    """The routes that only read; ``applied`` tells each view's position,
    ``newest_us`` each source's newest event."""
    routes = APIRouter(tags=["features"])
    _describe(routes, catalogue, redefine)
    _consistency(routes, catalogue, verifier)

    @routes.get("/v1/features/quarantine")
    async def set_aside(
        _caller: Annotated[Caller, needs("features:read")],
        source: str | None = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    ) -> dict[str, Any]:
        """Rows that could not be taken, newest first, with their reasons."""
        return {"rows": quarantine.latest(limit, source)}

    @routes.get("/v1/features/freshness")
    async def fresh(_caller: Annotated[Caller, needs("features:read")]) -> dict[str, Any]:
        """How far each view is applied, and how old its newest event is."""
        return freshness(catalogue, log.last_seq(), applied(), newest_us(), clock.now_us())

    @routes.get("/v1/features/keys/{view}")
    async def key_history(
        view: str,
        request: Request,
        _caller: Annotated[Caller, needs("features:read")],
        at: str | None = None,
    ) -> Response:
        """What was known about a key at an instant, and what is now; the key's parts are query
        parameters (``?carrier=UA&at=2013-12-01T00:00:00Z``)."""
        found = _view(catalogue, view)
        now_us = clock.now_us()
        try:
            key = _key(found, request)
            then_us = now_us if at is None else parse_instant(at)
            recalled = recall(found, key, then_us, now_us, log, engine)
        except (MissingField, ValueError) as error:
            raise Problem(ProblemCode.INVALID_INPUT, f"{error}.") from error
        body = {
            "view": view,
            "key": key,
            "then_us": then_us,
            "now_us": now_us,
            "answers": recalled.answers,
            "rows": recalled.rows,
            "rows_total": recalled.rows_total,
        }
        return Response(orjson.dumps(body, default=repr), media_type="application/json")

    return routes


def _describe(routes: APIRouter, catalogue: Catalogue, redefine: Redefine) -> None:
    @routes.post("/v1/features/definitions")
    async def apply(
        body: Redefinition, _caller: Annotated[Caller, needs("features:write")]
    ) -> dict[str, Any]:
        """Read the feature modules anew: what that adds, changes and removes. A new or changed
        view is filled from the log; the old one's values stay for models that still read them."""
        try:
            return {"applied": not body.dry_run, **redefine(body.dry_run)}
        except (DefinitionError, UnknownRef, SyntaxError) as error:
            detail = f"The definitions cannot stand: {error}"
            raise Problem(ProblemCode.INVALID_INPUT, detail) from error

    @routes.get("/v1/features/definitions")
    async def definitions(_caller: Annotated[Caller, needs("features:read")]) -> dict[str, Any]:
        """Entities, sources, views (with fingerprints), functions and services."""
        return catalogue.describe()

    @routes.get("/v1/features/services")
    async def services(_caller: Annotated[Caller, needs("features:read")]) -> dict[str, Any]:
        """The feature services with their refs and fingerprints."""
        return {"services": catalogue.describe()["services"]}

    @routes.get("/v1/features/services/{name}")
    async def service(name: str, _caller: Annotated[Caller, needs("features:read")]) -> Any:
        """One service's canonical description: what its fingerprint is of."""
        try:
            compiled = catalogue.compile(name)
        except UnknownRef as error:
            raise Problem(ProblemCode.NOT_FOUND, "No feature service has this name.") from error
        return {"fingerprint": compiled.fingerprint, **compiled.json}


def _consistency(routes: APIRouter, catalogue: Catalogue, verifier: Verifier) -> None:
    @routes.get("/v1/features/consistency")
    async def consistency(
        _caller: Annotated[Caller, needs("features:read")], view: str | None = None
    ) -> dict[str, Any]:
        """With ``view``: compare every key of it with the log, now. Without: the last results."""
        if view is None:
            return {"views": [_audited(audit) for audit in verifier.audits.values()]}
        _view(catalogue, view)
        try:
            return _audited(await verifier.audit(view))
        except (RedisAway, TimeoutError) as error:
            raise Problem(
                ProblemCode.DEPENDENCY_UNAVAILABLE, "The online store is away."
            ) from error

    @routes.post("/v1/features/consistency")
    async def check_served(
        body: ServedSamples, _caller: Annotated[Caller, needs("features:read")]
    ) -> dict[str, Any]:
        """Judge rows that were served: match, stale, or mismatch, for each ref."""
        verdicts = []
        for one in body.samples:
            sample = Sample(one.keys, one.at_us, one.applied_seq, one.values)
            try:
                verdicts.append(await verifier.check_served(sample))
            except UnknownRef as error:
                raise Problem(ProblemCode.NOT_FOUND, "A feature is not defined.") from error
        return {"verdicts": verdicts}


def _view(catalogue: Catalogue, name: str) -> View:
    if name not in catalogue.views:
        raise Problem(ProblemCode.NOT_FOUND, "No view has this name.")
    return catalogue.views[name]


def _key(view: View, request: Request) -> dict[str, Any]:
    """The key's parts from the query, as their dtypes."""
    key: dict[str, Any] = {}
    for name, dtype in view.entity.keys.items():
        text = request.query_params.get(name)
        if text is None:
            raise MissingField(name, f"view {view.name!r}")
        key[name] = int(text) if dtype == "int64" else text
        if dtype == "bool":
            key[name] = text == "true"
    return key


def _audited(audit: Audit) -> dict[str, Any]:
    return {
        "view": audit.view,
        "keys": audit.keys,
        "applied_seq": audit.applied_seq,
        "differing_buckets": audit.differing_buckets,
        "mismatches": [[str(part) for part in key] for key in audit.mismatches],
        "mismatches_total": audit.mismatches_total,
        "orphans": audit.orphans,
    }
