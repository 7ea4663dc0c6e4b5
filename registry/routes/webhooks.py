"""Webhooks: who is told of acts."""

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from contracts.identity import Caller
from kit.identity import needs
from registry.domain.webhook import ACTIONS
from registry.notify import Notify
from registry.routes.asking import Writer

Admin = Annotated[Caller, needs("admin")]


class WebhookIn(BaseModel):
    """``POST /v1/webhooks``."""

    model_config = ConfigDict(extra="forbid")

    url: str = Field(min_length=8, max_length=2000)
    actions: (
        Annotated[
            tuple[Annotated[str, Field(pattern=ACTIONS, max_length=64)], ...],
            Field(min_length=1, max_length=20),
        ]
        | None
    ) = None
    """Beginnings of the audit actions to be told of: ``rollout.``, ``version.published``. None:
    versions, rollouts, experiments."""


def router(notify: Notify) -> APIRouter:
    """The routes of webhooks, bound to their verb."""
    routes = APIRouter(prefix="/v1", tags=["webhooks"])

    @routes.post("/webhooks", status_code=201)
    async def subscribe(body: WebhookIn, caller: Admin) -> dict[str, Any]:
        """Subscribe a URL. The answer shows the signing secret, once."""
        return await notify.subscribe(body.url, body.actions, caller)

    @routes.get("/webhooks")
    async def subscribers(_caller: Writer) -> dict[str, Any]:
        """Who is told, how far, and what fails."""
        return {"webhooks": await notify.subscribers()}

    @routes.delete("/webhooks/{webhook_id}", status_code=204)
    async def unsubscribe(webhook_id: str, caller: Admin) -> None:
        """Tell this one nothing more."""
        await notify.unsubscribe(webhook_id, caller)

    return routes
