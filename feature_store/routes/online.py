"""``POST /v1/features/online``: what is known now."""

import base64
from collections.abc import Mapping
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from contracts.identity import Caller
from contracts.problems import ProblemCode
from contracts.served import STATUSES
from feature_store.domain.keys import InvalidKey
from feature_store.domain.plan import FeaturePlan
from feature_store.look_up import Answered, InvalidField, look_up, plain_values
from feature_store.online import ROWS_MAX, OnlineReader
from kit.clock import Clock
from kit.identity import needs
from kit.json_bodies import is_json, json_body
from kit.lean import LeanRoute
from kit.problems import Problem, unfit
from kit.redis_pipeline import RedisAway
from shared_features import Catalogue, CompiledService, DefinitionError, MissingField, UnknownRef

PLANS_MAX = 256


class Asked(BaseModel):
    """Which features, of whom; one of ``feature_refs`` and ``feature_service``."""

    model_config = ConfigDict(extra="forbid")

    entity_rows: list[dict[str, Any]] = Field(min_length=1, max_length=ROWS_MAX)
    feature_refs: list[str] | None = Field(default=None, min_length=1, max_length=1000)
    feature_service: str | None = None
    aliases: dict[str, dict[str, str]] = Field(default_factory=dict)
    layout: str = Field(default="rows", pattern="^(rows|columns)$")


_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": Asked.model_json_schema()}},
    }
}


class Plans:
    """Compiled plans by what was asked; bounded, the oldest goes first."""

    def __init__(self, catalogue: Catalogue, reader: OnlineReader) -> None:
        self._catalogue = catalogue
        self._reader = reader
        self._plans: dict[tuple[Any, ...], FeaturePlan] = {}

    def forget(self) -> None:
        """Definitions have changed: compile anew."""
        self._plans.clear()

    def of(self, asked: Asked) -> FeaturePlan:
        """The plan. Raises a problem for refs that are not there."""
        aliases = tuple((a, tuple(sorted(m.items()))) for a, m in sorted(asked.aliases.items()))
        place = (asked.feature_service, tuple(asked.feature_refs or ()), aliases)
        plan = self._plans.get(place)
        if plan is None:
            service = compiled(
                self._catalogue, asked.feature_refs, asked.feature_service, asked.aliases
            )
            plan = self._reader.plan(service)
            if len(self._plans) >= PLANS_MAX:
                self._plans.pop(next(iter(self._plans)))
            self._plans[place] = plan
        return plan


def compiled(
    catalogue: Catalogue,
    refs: list[str] | None,
    service: str | None,
    aliases: Mapping[str, Mapping[str, str]],
) -> CompiledService:
    """The service or the refs, compiled; what is wrong with them is the caller's problem."""
    if (refs is None) == (service is None):
        raise Problem(
            ProblemCode.INVALID_INPUT, "Give feature_refs or feature_service, one of the two."
        )
    try:
        if service is not None:
            return catalogue.compile(service)
        assert refs is not None
        return catalogue.compile_refs(refs, aliases)
    except UnknownRef as error:
        detail = f"A feature, view or service is not defined; {error.known}."
        raise Problem(ProblemCode.NOT_FOUND, detail) from error
    except DefinitionError as error:
        detail = f"The refs cannot be read: {error.wrong}. {error.fix}."
        raise Problem(ProblemCode.INVALID_INPUT, detail) from error


def router(plans: Plans, reader: OnlineReader, clock: Clock) -> APIRouter:
    """The look-up route."""
    routes = APIRouter(tags=["features"], route_class=LeanRoute)

    @routes.post("/v1/features/online", openapi_extra=_BODY)
    async def online(
        request: Request, _caller: Annotated[Caller, needs("features:read")]
    ) -> Response:
        """Features of each entity row as known now, with a status each."""
        asked = _asked(request)
        plan = plans.of(asked)
        try:
            found = await look_up(reader, plan, asked.entity_rows, clock)
        except (MissingField, InvalidKey, InvalidField) as error:
            raise Problem(ProblemCode.INVALID_INPUT, f"{error}.") from error
        except (RedisAway, TimeoutError) as error:
            raise Problem(
                ProblemCode.DEPENDENCY_UNAVAILABLE, "The online store is away."
            ) from error
        shown = _columns(found) if asked.layout == "columns" else {"rows": found.rows()}
        body = {**shown, "now_us": found.now_us}
        return Response(orjson.dumps(body, default=_plain), media_type="application/json")

    return routes


def _asked(request: Request) -> Asked:
    """The body; by hand, because FastAPI's way to it costs more than the look-up."""
    if not is_json(request.scope):
        raise Problem(ProblemCode.UNSUPPORTED_MEDIA_TYPE, "Send application/json.")
    try:
        return Asked.model_validate(json_body(request.scope))
    except ValidationError as error:
        raise unfit(error) from error


def _columns(found: Answered) -> dict[str, Any]:
    return {
        "columns": {
            ref: {
                "values": plain_values(column, found.dtypes[ref]),
                "statuses": [STATUSES[code] for code in column.status.tolist()],
                "ages_us": column.age_us.tolist(),
            }
            for ref, column in found.columns.items()
        }
    }


def _plain(value: Any) -> Any:
    assert isinstance(value, bytes)
    return base64.b64encode(value).decode()
