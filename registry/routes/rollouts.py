"""Rollouts: start, watch, and every verb that a person has over them."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from contracts.manifest import Name
from kit.problems import unfit
from registry.describe import Describe
from registry.domain.numbers import VERSION
from registry.domain.plan import RolloutPlan, preset_plan
from registry.domain.version import VersionRecord
from registry.roll_back import RollBack
from registry.roll_out import Deed, RollOut
from registry.routes.asking import ActId, DryRun, IdempotencyKey, IfMatch, Reader, Somebody, etag
from registry.routes.models import ModelName, Version

Reasoned = Annotated[str, Field(min_length=3, max_length=1000)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class RolloutIn(_Body):
    """``POST /v1/rollouts``: a preset, with whole fields of the plan replaced where given."""

    model: Name
    version: str = Field(pattern=VERSION)
    preset: Literal["careful", "standard", "fast"] = "careful"
    plan: dict[str, Any] = Field(default_factory=dict)
    reason: Reasoned

    def plan_for(self, record: VersionRecord) -> RolloutPlan:
        """The plan for what the version is. Raises ``Problem`` for settings that do not fit."""
        try:
            return preset_plan(self.preset, record.manifest.task, record.classes, **self.plan)
        except ValidationError as wrong:
            raise unfit(wrong, "plan") from wrong


class ReasonIn(_Body):
    """Why."""

    reason: Reasoned


def router(roll_out: RollOut, roll_back: RollBack, describe: Describe) -> APIRouter:
    """The routes of rollouts, bound to their verbs."""
    routes = APIRouter(prefix="/v1", tags=["rollouts"])
    _add_start(routes, roll_out)
    _add_pages(routes, describe)
    _add_verbs(routes, roll_out, roll_back)
    _add_model_verbs(routes, roll_out, roll_back)
    return routes


def _add_start(routes: APIRouter, roll_out: RollOut) -> None:
    @routes.post("/rollouts", status_code=201)
    async def start(
        body: RolloutIn,
        response: Response,
        caller: Somebody,
        once: IdempotencyKey,
        dry_run: DryRun = False,
    ) -> dict[str, Any]:
        """Start a rollout. Needs ``registry:promote``."""
        answer = await roll_out.start(
            body.model,
            body.version,
            body.plan_for,
            body.reason,
            caller,
            once=once,
            dry_run=dry_run,
        )
        response.headers["etag"] = etag(answer["revision"])
        return answer


def _add_pages(routes: APIRouter, describe: Describe) -> None:
    @routes.get("/rollouts")
    async def rollouts(
        _caller: Reader,
        model: Annotated[str | None, Query(max_length=63)] = None,
        active: bool = False,
    ) -> dict[str, Any]:
        """Rollouts, oldest first."""
        return {"rollouts": await describe.rollouts(model, active=active)}

    @routes.get("/rollouts/{rollout_id}")
    async def rollout(rollout_id: ActId, response: Response, _caller: Reader) -> dict[str, Any]:
        """One rollout with its evidence and verdict; its ETag goes into ``If-Match``."""
        answer = await describe.rollout(rollout_id)
        response.headers["etag"] = etag(answer["revision"])
        return answer

    @routes.get("/rollouts/{rollout_id}/decisions")
    async def decisions(rollout_id: ActId, _caller: Reader) -> dict[str, Any]:
        """Every verdict that said something new, oldest first."""
        return {"decisions": await describe.decisions(rollout_id)}


def _add_verbs(routes: APIRouter, roll_out: RollOut, roll_back: RollBack) -> None:
    # Before the other verbs, whose path would match it, too.
    @routes.post("/rollouts/{rollout_id}/rollback")
    async def rollback(
        rollout_id: ActId,
        body: ReasonIn,
        response: Response,
        caller: Somebody,
        expected: IfMatch,
        once: IdempotencyKey,
        dry_run: DryRun = False,
    ) -> dict[str, Any]:
        """Take it back now, under way or just finished. Needs ``registry:promote``."""
        answer = await roll_back.rollout(
            rollout_id, body.reason, caller, expected, once=once, dry_run=dry_run
        )
        response.headers["etag"] = etag(answer["revision"])
        return answer

    @routes.post("/rollouts/{rollout_id}/{deed}")
    async def act(
        rollout_id: ActId,
        deed: Deed,
        body: ReasonIn,
        response: Response,
        caller: Somebody,
        expected: IfMatch,
        once: IdempotencyKey,
        dry_run: DryRun = False,
    ) -> dict[str, Any]:
        """Pause, resume, promote (approve), abort; override goes on without evidence. Needs
        ``registry:promote``, to override ``registry:override``."""
        answer = await roll_out.act(
            rollout_id, deed, body.reason, caller, expected, once=once, dry_run=dry_run
        )
        response.headers["etag"] = etag(answer["revision"])
        return answer


def _add_model_verbs(routes: APIRouter, roll_out: RollOut, roll_back: RollBack) -> None:
    @routes.post("/models/{model}/rollback")
    async def rollback_model(
        model: ModelName,
        body: ReasonIn,
        caller: Somebody,
        once: IdempotencyKey,
        dry_run: DryRun = False,
    ) -> dict[str, Any]:
        """Take back whatever last changed what serves this model. Needs ``registry:promote``."""
        return await roll_back.model(model, body.reason, caller, once=once, dry_run=dry_run)

    @routes.post("/models/{model}/versions/{version}/overrides", status_code=202)
    async def override(
        model: ModelName,
        version: Version,
        body: ReasonIn,
        caller: Somebody,
        expected: IfMatch,
        once: IdempotencyKey,
        dry_run: DryRun = False,
    ) -> dict[str, Any]:
        """All traffic to this version once it is loaded. Needs ``registry:override``."""
        return await roll_out.override(
            model, version, body.reason, caller, expected, once=once, dry_run=dry_run
        )
