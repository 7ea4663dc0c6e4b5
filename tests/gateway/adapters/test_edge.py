"""What all connections share: time limits, their number, the end of the server."""

import asyncio
import re
from pathlib import Path

import pytest

from gateway.adapters.edge_connection import FREE_BODY_BYTES
from gateway.adapters.edge_httptools import EdgeProtocol
from tests.gateway.adapters.raw_requests import (
    predict,
    status_of,
)
from tests.gateway.replica import FakeReplica
from tests.gateway.running import running_gateway
from tests.polling import until

SLOW = [
    ("slow head", b"GET /heal", b"request-timeout"),
    (
        "slow body",
        b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{",
        b"request-timeout",
    ),
    ("idle", b"", b""),
    ("idle after an answer", b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", b"live"),
]


async def test_who_is_slow_is_closed(
    state: Path, key: str, redis_url: str, replica: FakeReplica
) -> None:
    options = {"head_s_max": 0.2, "idle_s_max": 0.2, "body_grace_s": 0.2}
    async with running_gateway(
        state, redis_url, inference_frames=(replica.address,), **options
    ) as gateway:
        answers = await asyncio.gather(*(gateway.raw(sent) for _, sent, _ in SLOW))
        for (what, _, seen), answer in zip(SLOW, answers, strict=True):
            assert seen in answer, what


async def test_connections_beyond_the_limit_are_told_so(
    state: Path, key: str, redis_url: str, replica: FakeReplica
) -> None:
    options = {"inference_frames": (replica.address,), "connections_max": 2}
    async with running_gateway(state, redis_url, **options) as gateway:
        held = [await asyncio.open_connection("127.0.0.1", gateway.port) for _ in range(2)]
        await until(lambda: len(gateway.gateway.edge.connections) == 2)
        answer = await gateway.raw()
        assert status_of(answer) == 503
        assert b"retry-after: 1" in answer
        for _, writer in held:
            writer.close()
        await until(lambda: not gateway.gateway.edge.connections)


@pytest.mark.parametrize(
    "path", [b"/predict", b"/v2/models/delay/infer", b"/v2/models/d%65lay/infer"]
)
async def test_bodies_that_are_still_being_read_leave_room_for_others(
    state: Path, key: str, redis_url: str, replica: FakeReplica, path: bytes
) -> None:
    """Whoever sends a body has proven nothing before it is there; 10,000 could hold 40 GB."""
    size = 4 * 1024 * 1024
    head = b"POST %b HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % (
        path,
        size,
    )
    options = {"inference_frames": (replica.address,), "bodies_bytes_max": size}
    async with running_gateway(state, redis_url, **options) as gateway:
        edge = gateway.gateway.edge
        _, holder = await asyncio.open_connection("127.0.0.1", gateway.port)
        holder.write(head + b"x" * (size - 1))
        await until(lambda: edge.bodies_bytes == size - 1 - FREE_BODY_BYTES)
        refused = await gateway.raw(head + b"x" * (FREE_BODY_BYTES * 3))
        assert status_of(refused) == 503
        assert b"retry-after: 1" in refused
        assert status_of(await gateway.raw(predict(key))) == 200
        holder.close()
        await until(lambda: edge.bodies_bytes == 0)
        assert status_of(await gateway.raw(head + b"x" * size)) == 401
        assert edge.bodies_bytes == 0


async def test_a_drain_lets_what_is_under_way_finish(
    state: Path, key: str, redis_url: str, replica: FakeReplica
) -> None:
    async with running_gateway(state, redis_url, inference_frames=(replica.address,)) as gateway:
        await until(lambda: replica._writers != set())
        await gateway.raw(predict(key))
        replica.holds = True
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(predict(key, close=False))
        await until(lambda: len(replica.asked) == 2)
        (connection,) = gateway.gateway.edge.connections
        assert isinstance(connection, EdgeProtocol)

        async def let_go_in_the_drain() -> None:
            await until(lambda: connection.draining)
            replica.let_go()

        letting_go = asyncio.ensure_future(let_go_in_the_drain())
    await letting_go
    answer = await reader.read()
    assert status_of(answer) == 200
    assert b"connection: close" in answer
    writer.close()


async def test_a_request_that_crosses_the_end_of_its_server_is_answered_and_is_the_last(
    state: Path, key: str, redis_url: str, replica: FakeReplica
) -> None:
    async with running_gateway(state, redis_url, inference_frames=(replica.address,)) as gateway:
        await until(lambda: replica._writers != set())
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        for _ in range(2):
            writer.write(predict(key, close=False))
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(re.findall(rb"content-length: (\d+)", head)[0]))
        assert b"connection: close" not in head
        for connection in list(gateway.gateway.edge.connections):
            connection.shutdown()  # type: ignore[attr-defined]  # as uvicorn does on SIGTERM
        writer.write(predict(key, close=False))
        async with asyncio.timeout(5):
            last = await reader.read()
        assert status_of(last) == 200
        assert b"connection: close" in last
        writer.close()
