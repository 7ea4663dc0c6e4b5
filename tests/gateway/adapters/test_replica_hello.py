"""Over TCP a replica is asked once it has said HELLO; what only accepts connections is none."""

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest
from structlog.testing import capture_logs

from contracts.frames import PROTOCOL, pack_hello
from gateway.adapters.replica_link import ReplicaLink
from tests.gateway.replica import FakeReplica
from tests.polling import until


@pytest.fixture
async def replica() -> AsyncIterator[FakeReplica]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    made = FakeReplica(("127.0.0.1", port))
    await made.start()
    yield made
    await made.stop()


def connect(address: str) -> tuple[ReplicaLink, "asyncio.Future[None]"]:
    link = ReplicaLink(address, asyncio.get_running_loop(), "the token")
    return link, asyncio.ensure_future(link.keep_connected())


async def leave(link: ReplicaLink, connecting: "asyncio.Future[None]") -> None:
    link.abort()
    async with asyncio.timeout(5):
        await connecting


async def test_a_replica_that_greets_is_asked(replica: FakeReplica) -> None:
    link, connecting = connect(replica.address)
    await link.tried.wait()
    assert link.usable
    assert replica.tokens == ["the token"]
    await leave(link, connecting)


@pytest.mark.parametrize("greeting", [b"", pack_hello().replace(bytes([PROTOCOL]), b"\x09")])
async def test_what_says_nothing_or_speaks_another_protocol_is_not_asked(
    replica: FakeReplica, greeting: bytes
) -> None:
    replica.hello = greeting
    with capture_logs() as logs:
        link, connecting = connect(replica.address)
        await link.tried.wait()
        assert not link.usable
        replica.hello = pack_hello()
        await until(lambda: link.usable)
    assert [one["event"] for one in logs if "takes" in one["event"]] == ["replica_takes_no_asks"]
    await leave(link, connecting)


async def test_what_hangs_up_at_once_is_tried_less_and_less_often() -> None:
    accepted = 0

    async def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal accepted
        accepted += 1
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    link, connecting = connect(f"tcp://{host}:{port}")
    await until(lambda: accepted >= 3)
    began, before = asyncio.get_running_loop().time(), accepted
    await until(lambda: accepted >= before + 2)
    assert asyncio.get_running_loop().time() - began > 0.1
    await leave(link, connecting)
    server.close()
