"""The routing table goes out; replicas' reports come in."""

from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Query, Response

from contracts.problems import ProblemCode
from contracts.routing import ReplicaReport, RoutingTable
from kit.problems import Problem
from registry.announce import Announcer
from registry.routes.asking import Platform, Reader, etag, plain_tag


def router(announcer: Announcer, *, long_poll_s_max: float) -> APIRouter:
    """The routes of the routing table, bound to their verb."""
    routes = APIRouter(prefix="/v1", tags=["routing"])

    @routes.get("/routing", response_model=RoutingTable)
    async def routing(
        response: Response,
        _caller: Reader,
        if_none_match: Annotated[str | None, Header()] = None,
        wait_s: Annotated[float, Query(ge=0, le=60)] = 0.0,
    ) -> RoutingTable | Response:
        """The table. With ``If-None-Match`` and ``wait_s`` it waits for another one, else 304."""
        known = None if if_none_match is None else plain_tag(if_none_match)
        table = await announcer.beyond(known, min(wait_s, long_poll_s_max))
        if table.tag == known:
            return Response(status_code=304, headers={"etag": etag(table.tag)})
        response.headers["etag"] = etag(table.tag)
        return table

    @routes.put("/replicas/{replica}")
    async def report(
        replica: Annotated[str, Path(max_length=128)], body: ReplicaReport, _caller: Platform
    ) -> dict[str, int]:
        """A replica's heartbeat; answered with the current epoch."""
        if body.replica != replica:
            raise Problem(ProblemCode.INVALID_INPUT, "The report names another replica.")
        await announcer.report(body)
        return {"epoch": announcer.table.epoch}

    @routes.get("/replicas")
    async def replicas(_caller: Reader) -> dict[str, Any]:
        """Who reported, and what they said last."""
        seen = await announcer.replicas()
        return {
            "replicas": [
                {"seen_wall_us": one.seen_wall_us, **one.report.model_dump(mode="json")}
                for one in seen
            ]
        }

    return routes
