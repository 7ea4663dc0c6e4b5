"""What the store knows about itself: definitions, quarantine, freshness, histories, consistency."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query, Request, Response

from contracts.identity import Caller
from contracts.problems import ProblemCode
from feature_store.adapters.quarantine_files import QuarantineFiles
from feature_store.domain.intake import parse_value
from feature_store.freshness import freshness
from feature_store.ports import HistoricalEngine, LogReader
from feature_store.recall import recall
from kit.clock import Clock
from kit.identity import needs
from kit.parameters import check_parameters
from kit.problems import Problem
from shared_features import Catalogue, MissingField, View


def router(
    catalogue: Catalogue,
    log: LogReader,
    engine: HistoricalEngine,
    quarantine: QuarantineFiles,
    applied: Callable[[], Mapping[str, int]],
    newest_us: Callable[[], Mapping[str, int]],
    clock: Clock,
    start_over: Callable[[], None],
) -> APIRouter:
    """``applied`` tells each view's position, ``newest_us`` each source's newest event,
    ``start_over`` empties the online store and fills it again."""
    routes = APIRouter(tags=["features"])

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

    @routes.post("/v1/features/materialize", status_code=202)
    async def materialize(_caller: Annotated[Caller, needs("features:write")]) -> dict[str, int]:
        """Empty the online store and fill it again from the log, which frees what keys that are
        gone still took. Look-ups answer 503 until then; ``freshness`` tells how far it is."""
        start_over()
        return {"log_seq": log.last_seq()}

    _histories(routes, catalogue, log, engine, clock)
    return routes


_KEY_PARTS = {
    "parameters": [
        {
            "name": "key",
            "in": "query",
            "style": "form",
            "explode": True,
            "description": "The parts of the view's key, each a parameter of its own name.",
            "schema": {"type": "object", "additionalProperties": {"type": "string"}},
            "example": {"carrier": "UA"},
        }
    ]
}


def _histories(
    routes: APIRouter, catalogue: Catalogue, log: LogReader, engine: HistoricalEngine, clock: Clock
) -> None:
    @routes.get("/v1/features/keys/{view}", openapi_extra=_KEY_PARTS)
    async def key_history(
        view: str,
        request: Request,
        _caller: Annotated[Caller, needs("features:read")],
        at: str | None = None,
    ) -> Response:
        """What was known about a key at an instant, and what is now; the key's parts are query
        parameters (``?carrier=UA&at=2013-12-01T00:00:00Z``)."""
        found = view_named(catalogue, view)
        now_us = clock.now_us()
        try:
            key = _key(found, request)
            then_us = now_us if at is None else parse_value(at, "timestamp", "at")
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


def view_named(catalogue: Catalogue, name: str) -> View:
    """The view of that name; a problem where there is none."""
    if name not in catalogue.views:
        raise Problem(ProblemCode.NOT_FOUND, "No view has this name.")
    return catalogue.views[name]


def _key(view: View, request: Request) -> dict[str, Any]:
    """The key's parts from the query, as their dtypes."""
    check_parameters(request.query_params.keys(), ("at", *view.entity.keys))
    key: dict[str, Any] = {}
    for name, dtype in view.entity.keys.items():
        text = request.query_params.get(name)
        if text is None:
            raise MissingField(name, f"view {view.name!r}")
        if dtype == "bool" and text not in ("true", "false"):
            raise ValueError(f"{name} must be true or false")
        if dtype == "int64" and not text.removeprefix("-").isdecimal():
            raise ValueError(f"{name} must be a whole number")
        key[name] = int(text) if dtype == "int64" else text
        if dtype == "bool":
            key[name] = text == "true"
    return key
