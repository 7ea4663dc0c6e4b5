"""A service that stands still is found out, however long its caller would wait."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from gateway.adapters.upstream_httpx import UpstreamHttpx
from kit.deadline import Deadline


async def endless() -> AsyncIterator[bytes]:
    while True:
        yield b"x" * 65_536
        await asyncio.sleep(0)


@pytest.mark.parametrize("body", [None, endless()])
async def test_a_service_that_stands_still_is_given_up(body: AsyncIterator[bytes] | None) -> None:
    over = asyncio.Event()

    async def stand_still(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await over.wait()
        writer.close()

    server = await asyncio.start_server(stand_still, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    upstream = UpstreamHttpx(f"http://127.0.0.1:{port}", "token", silence_s_max=0.2)
    try:
        async with asyncio.timeout(10):
            with pytest.raises(TimeoutError):
                await upstream.send("POST", "/", {}, body, Deadline.after_ms(600_000))
    finally:
        await upstream.close()
        over.set()
        server.close()
        await server.wait_closed()
