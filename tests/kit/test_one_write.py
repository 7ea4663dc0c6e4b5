"""An answer leaves in one piece, whole and in order, and a closed connection loses nothing."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from kit.one_write import Gathering, OneWriteProtocol
from kit.tasks import TaskOwner
from tests.polling import until

Send = Callable[[dict[str, Any]], Awaitable[None]]
LARGE = b"x" * 3_000_000


class Wire(asyncio.Transport):
    """A transport that remembers what it was told."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[object] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.told.append(bytes(data))

    def close(self) -> None:
        self.told.append("close")

    def is_closing(self) -> bool:
        return "close" in self.told


async def app(scope: dict[str, Any], _receive: object, send: Send) -> None:
    """/large answers in pieces over many turns, anything else in one."""
    pieces = [LARGE, b"y", LARGE] if scope["path"] == "/large" else [b"hello"]
    length = str(sum(map(len, pieces))).encode()
    head = [(b"content-length", length)]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    for piece in pieces[:-1]:
        await send({"type": "http.response.body", "body": piece, "more_body": True})
        await asyncio.sleep(0)
    await send({"type": "http.response.body", "body": pieces[-1]})


@pytest.fixture
async def socket(tmp_path: Path) -> AsyncIterator[str]:
    path = str(tmp_path / "http.sock")
    config = uvicorn.Config(
        app,
        uds=path,
        http=OneWriteProtocol,
        log_config=None,
        lifespan="off",
    )
    server = uvicorn.Server(config)
    async with TaskOwner() as tasks:
        tasks.start("serve", server.serve)
        await until(lambda: server.started)
        yield path
        server.should_exit = True
        await until(lambda: not server.started or not server.servers[0].is_serving())


async def exchange(path: str, *requests: str) -> bytes:
    reader, writer = await asyncio.open_unix_connection(path)
    for place, target in enumerate(requests):
        last = place == len(requests) - 1
        ending = "connection: close\r\n" if last else ""
        writer.write(f"GET {target} HTTP/1.1\r\nhost: t\r\n{ending}\r\n".encode())
    found = await reader.read()
    writer.close()
    return found


async def test_what_one_turn_writes_is_one_write() -> None:
    wire = Wire()
    gathering = Gathering(wire, asyncio.get_running_loop())
    gathering.write(b"head ")
    gathering.write(b"body")
    assert wire.told == []
    await asyncio.sleep(0)
    assert wire.told == [b"head body"]
    gathering.write(b"bye")
    gathering.close()
    assert wire.told == [b"head body", b"bye", "close"]
    assert gathering.is_closing()
    await asyncio.sleep(0)
    assert wire.told == [b"head body", b"bye", "close"]


async def test_nothing_is_written_to_a_client_that_left_in_the_same_turn() -> None:
    wire = Wire()
    gathering = Gathering(wire, asyncio.get_running_loop())
    gathering.write(b"late")
    wire.close()
    await asyncio.sleep(0)
    assert wire.told == ["close"]


async def test_answers_arrive_whole_and_in_order(socket: str) -> None:
    found = await exchange(socket, "/", "/large", "/")
    assert found.count(b"HTTP/1.1 200 OK") == 3
    first, second, third = found.split(b"HTTP/1.1 200 OK")[1:]
    assert first.endswith(b"\r\n\r\nhello")
    assert second.partition(b"\r\n\r\n")[2] == LARGE + b"y" + LARGE
    assert third.endswith(b"\r\n\r\nhello")
