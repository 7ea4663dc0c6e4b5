"""Pushes the routing table to replicas over HTTP, all at the same time."""

import asyncio
from collections.abc import Sequence

import httpx

from contracts.routing import RoutingTable
from kit.logs import get_logger
from registry.metrics import PUSHES

_log = get_logger(__name__)


class HttpTablePush:
    """See ``registry.ports.TablePush``. The client carries the service token and the deadline."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def __call__(self, urls: Sequence[str], table: RoutingTable) -> None:
        """Returns when every replica has answered or its time is up."""
        body = table.model_dump_json().encode()
        await asyncio.gather(*(self._push(url, body, table.epoch) for url in urls))

    async def _push(self, url: str, body: bytes, epoch: int) -> None:
        headers = {"content-type": "application/json"}
        try:
            answer = await self._client.post(url, content=body, headers=headers)
            outcome = "taken" if answer.is_success else "refused"
        except (httpx.HTTPError, httpx.InvalidURL):
            outcome = "away"
        PUSHES.labels(outcome).inc()
        if outcome != "taken":
            _log.warning("routing_push_failed", url=url, epoch=epoch, outcome=outcome)
