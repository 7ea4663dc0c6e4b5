"""The HTTP clients, between services and to the outside: deadlines always, retries never."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from functools import cache, partial

import httpx

from contracts.identity import SERVICE_TOKEN_HEADER

KEEPALIVE_S = 15.0


@cache
def _tls() -> ssl.SSLContext:
    """Whom to believe over https. To read all those certificates takes 20 ms: once a process."""
    return httpx.create_ssl_context(trust_env=False)


def internal_client(
    base_url: str, service_token: str, timeout_s: float = 5.0, connections_max: int = 32
) -> httpx.AsyncClient:
    """A client for one neighbour. Constructing does no I/O; the caller closes it."""
    return httpx.AsyncClient(
        base_url=base_url,
        headers={SERVICE_TOKEN_HEADER: service_token},
        timeout=httpx.Timeout(timeout_s, connect=min(timeout_s, 1.0)),
        transport=InLine(connections_max),
        follow_redirects=False,
        trust_env=False,
    )


def outside_client(timeout_s: float) -> httpx.AsyncClient:
    """A client that calls what is not ours, by any URL, and shows it no token."""
    return httpx.AsyncClient(
        verify=_tls(), timeout=timeout_s, follow_redirects=False, trust_env=False
    )


class InLine(httpx.AsyncBaseTransport):
    """A connection for each request while it lasts; who finds all taken waits in line.

    httpx's pool hands one free connection to all who wait, and each who then finds it taken looks
    through all connections for all who wait: with 64 callers half as many requests a second as with
    8, and some were overtaken for as long as there were others. So each pool here has one
    connection, and nobody waits in it.
    """

    def __init__(self, connections_max: int) -> None:
        self._places = asyncio.Semaphore(connections_max)
        self._made: list[httpx.AsyncHTTPTransport] = []
        self._free: list[httpx.AsyncHTTPTransport] = []
        """The one used last is used next: the others may close."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """As httpx's own. Raises ``httpx.PoolTimeout`` when no connection becomes free."""
        try:
            async with asyncio.timeout(request.extensions["timeout"]["pool"]):
                await self._places.acquire()
        except TimeoutError as late:
            raise httpx.PoolTimeout("every connection is taken", request=request) from late
        connection = self._free.pop() if self._free else self._new()
        try:
            response = await connection.handle_async_request(request)
        except BaseException:
            self._give_back(connection)
            raise
        assert isinstance(response.stream, httpx.AsyncByteStream)
        response.stream = _Lent(response.stream, partial(self._give_back, connection))
        return response

    def _new(self) -> httpx.AsyncHTTPTransport:
        limits = httpx.Limits(max_connections=1, keepalive_expiry=KEEPALIVE_S)
        made = httpx.AsyncHTTPTransport(verify=_tls(), trust_env=False, limits=limits)
        self._made.append(made)
        return made

    def _give_back(self, connection: httpx.AsyncHTTPTransport) -> None:
        self._free.append(connection)
        self._places.release()

    async def aclose(self) -> None:
        """Close every connection."""
        for connection in self._made:
            await connection.aclose()


class _Lent(httpx.AsyncByteStream):
    """An answer's body; closed, its connection is the next one's."""

    def __init__(self, stream: httpx.AsyncByteStream, give_back: Callable[[], None]) -> None:
        self._stream = stream
        self._give_back: Callable[[], None] | None = give_back

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._stream:
            yield piece

    async def aclose(self) -> None:
        give_back, self._give_back = self._give_back, None
        try:
            await self._stream.aclose()
        finally:
            if give_back is not None:
                give_back()
