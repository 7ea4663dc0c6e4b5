"""HTTP in, one verb call, HTTP out."""

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter

from contracts.identity import Caller
from contracts.routing import RoutingTable
from kit.identity import needs


def internal(offer: Callable[[RoutingTable], None]) -> APIRouter:
    """What the registry calls."""
    routes = APIRouter(prefix="/internal", tags=["internal"])

    @routes.post("/routing")
    async def routing(
        table: RoutingTable, _caller: Annotated[Caller, needs("registry:promote")]
    ) -> dict[str, int]:
        """Take a new routing table; it takes effect once its versions are loaded."""
        offer(table)
        return {"epoch": table.epoch}

    return routes
