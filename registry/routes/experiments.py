"""Experiments: start, read, stop."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from contracts.manifest import Name
from registry.domain.experiment import Experiment, ExperimentPlan
from registry.experiment import Experiments
from registry.routes.asking import ActId, DryRun, IdempotencyKey, IfMatch, Reader, Somebody, etag
from registry.routes.rollouts import ReasonIn


class ExperimentIn(ReasonIn):
    """``POST /v1/experiments``."""

    model: Name
    plan: ExperimentPlan


def router(experiments: Experiments) -> APIRouter:
    """The routes of experiments, bound to their verb."""
    routes = APIRouter(prefix="/v1", tags=["experiments"])

    @routes.post("/experiments", status_code=201)
    async def start(
        body: ExperimentIn,
        response: Response,
        caller: Somebody,
        once: IdempotencyKey,
        dry_run: DryRun = False,
    ) -> dict[str, Any]:
        """Start an experiment. Needs ``registry:promote``."""
        answer = await experiments.start(
            body.model, body.plan, body.reason, caller, once=once, dry_run=dry_run
        )
        response.headers["etag"] = etag(answer["revision"])
        return answer

    @routes.get("/experiments")
    async def pages(
        _caller: Reader, model: Annotated[str | None, Query(max_length=63)] = None
    ) -> dict[str, list[Experiment]]:
        """Experiments, oldest first."""
        return {"experiments": await experiments.pages(model)}

    @routes.get("/experiments/{experiment_id}")
    async def page(experiment_id: ActId, response: Response, _caller: Reader) -> Experiment:
        """One experiment with what its arms show; its ETag goes into ``If-Match``."""
        found = await experiments.page(experiment_id)
        response.headers["etag"] = etag(found.revision)
        return found

    @routes.post("/experiments/{experiment_id}/stop")
    async def stop(
        experiment_id: ActId,
        body: ReasonIn,
        response: Response,
        caller: Somebody,
        expected: IfMatch,
        once: IdempotencyKey,
        dry_run: DryRun = False,
    ) -> dict[str, Any]:
        """All traffic back to the control. Needs ``registry:promote``."""
        answer = await experiments.stop(
            experiment_id, body.reason, caller, expected, once=once, dry_run=dry_run
        )
        response.headers["etag"] = etag(answer["revision"])
        return answer

    return routes
