"""A service behind the gateway, over HTTP, streamed both ways; never on the hot path."""

from collections.abc import AsyncIterator, Mapping

import httpx

from gateway.ports import StoreAway, UpstreamAnswer
from kit.deadline import Deadline
from kit.http import internal_client

_NOT_PASSED_ON = frozenset(
    {"connection", "keep-alive", "transfer-encoding", "upgrade", "te", "trailer", "date", "server"}
)
SILENCE_S_MAX = 60.0
"""Longest pause of a service that has been sent everything, and half of it while it is sent: one
that stands still is found out long before a large upload's own time is over."""


class UpstreamHttpx:
    """``Upstream`` by httpx."""

    def __init__(
        self, base_url: str, service_token: str, silence_s_max: float = SILENCE_S_MAX
    ) -> None:
        self._client = internal_client(base_url, service_token, timeout_s=30.0)
        self._silence_s_max = silence_s_max

    async def send(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: AsyncIterator[bytes] | None,
        deadline: Deadline,
    ) -> UpstreamAnswer:
        """Pass a request on. Raises ``StoreAway`` (no connection) or ``TimeoutError``."""
        left_s = max(0.001, min(deadline.remaining_s(), self._silence_s_max))
        timeout = httpx.Timeout(left_s, connect=1.0, write=min(left_s, self._silence_s_max / 2))
        pairs = [
            (name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()
        ]
        request = self._client.build_request(
            method, target, headers=pairs, content=body, timeout=timeout
        )
        try:
            answer = await self._client.send(request, stream=True)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as away:
            raise StoreAway(type(away).__name__) from away
        except httpx.TimeoutException as late:
            raise TimeoutError from late
        except httpx.TransportError as broken:
            raise ConnectionError(type(broken).__name__) from broken
        kept = tuple(
            (name, value)
            for name, value in answer.headers.raw
            if name.lower().decode() not in _NOT_PASSED_ON
        )
        return UpstreamAnswer(answer.status_code, kept, _pieces(answer), answer.aclose)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()


async def _pieces(answer: httpx.Response) -> AsyncIterator[bytes]:
    try:
        async for piece in answer.aiter_raw():
            yield piece
    except httpx.TransportError as broken:
        raise ConnectionError(type(broken).__name__) from broken
