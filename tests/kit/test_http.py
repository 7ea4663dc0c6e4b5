"""The client between services, against a server that counts."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from kit.http import internal_client
from tests.polling import until

CONNECTIONS_MAX = 4


class Neighbour:
    """Answers with the number asked for, while it may."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.connections = 0
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.left = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        while head := await reader.read(10_000):
            number = head.split()[1].strip(b"/")
            self.asked.append(int(number))
            await self.may_answer.wait()
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(number) + number)
        writer.close()
        self.left += 1


@asynccontextmanager
async def asking(neighbour: Neighbour, timeout_s: float = 10) -> AsyncIterator[httpx.AsyncClient]:
    async with await asyncio.start_server(neighbour.serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        url = f"http://127.0.0.1:{port}"
        async with internal_client(url, "token", timeout_s, CONNECTIONS_MAX) as client:
            yield client
        await until(lambda: neighbour.left == neighbour.connections)


async def test_callers_in_a_crowd_are_served_in_the_order_of_their_coming() -> None:
    neighbour = Neighbour()
    async with asking(neighbour) as client:
        answers = await asyncio.gather(*(client.get(f"/{number}") for number in range(200)))
    assert [int(answer.text) for answer in answers] == list(range(200))
    late = [abs(place - number) for place, number in enumerate(neighbour.asked)]
    assert max(late) <= CONNECTIONS_MAX
    assert neighbour.connections <= CONNECTIONS_MAX


async def test_a_connection_is_used_again() -> None:
    neighbour = Neighbour()
    async with asking(neighbour) as client:
        for number in range(3):
            assert (await client.get(f"/{number}")).text == str(number)
    assert neighbour.connections == 1


async def test_who_waits_too_long_for_a_connection_is_told_so() -> None:
    neighbour = Neighbour()
    async with asking(neighbour) as client:
        neighbour.may_answer.clear()
        slow = [asyncio.create_task(client.get(f"/{at}")) for at in range(CONNECTIONS_MAX)]
        await until(lambda: len(neighbour.asked) == CONNECTIONS_MAX)
        with pytest.raises(httpx.PoolTimeout):
            await client.get("/9", timeout=0.01)
        neighbour.may_answer.set()
        await asyncio.gather(*slow)
        assert (await client.get("/9")).text == "9"


async def test_who_leaves_or_is_late_takes_no_connection_along() -> None:
    neighbour = Neighbour()
    async with asking(neighbour) as client:
        neighbour.may_answer.clear()
        leaving = [asyncio.create_task(client.get(f"/{at}")) for at in range(3 * CONNECTIONS_MAX)]
        await until(lambda: len(neighbour.asked) == CONNECTIONS_MAX)
        for task in leaving:
            task.cancel()
        await asyncio.wait(leaving)
        for _ in range(CONNECTIONS_MAX + 1):
            with pytest.raises(httpx.ReadTimeout):
                await client.get("/7", timeout=httpx.Timeout(10, read=0.01))
        neighbour.may_answer.set()
        assert (await client.get("/8")).text == "8"
