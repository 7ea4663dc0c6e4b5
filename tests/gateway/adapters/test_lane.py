"""The fast lane takes what is plain, and looks at every byte of it all the same."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import uvicorn
from uvicorn.server import ServerState

from gateway.adapters.edge import HOSTS_MAX, Edge, EdgeTimes
from gateway.adapters.edge_httptools import EdgeProtocol
from gateway.domain.exchange import Question, Reply
from gateway.domain.head import HeadLimits
from gateway.domain.open_inference import InferHead
from kit.clock import FakeClock
from tests.gateway.adapters.raw_requests import (
    BODY,
    predict,
    status_of,
)
from tests.gateway.replica import FakeReplica
from tests.gateway.running import Running


async def road(_scope: Any, _receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


class Lane:
    """The edge alone: the ordinary way answers 204, the fast lane the body's size."""

    def __init__(self, folder: Path, clock: FakeClock) -> None:
        self.path = str(folder / "edge.sock")
        self.heads: list[InferHead] = []
        self._clock = clock

    async def _predict(self, question: Question) -> Reply:
        return Reply(200, b"%d" % len(question.body), ())

    async def _infer(self, question: Question, head: InferHead) -> Reply:
        self.heads.append(head)
        if question.body == b"broken":
            raise RuntimeError
        return await self._predict(question)

    async def serve(self) -> asyncio.Server:
        edge = self.edge = Edge(
            self._predict, self._infer, HeadLimits(), EdgeTimes(), self._clock,
            connections_max=9, bodies_bytes_max=1 << 20, access_log_share=0,
        )  # fmt: skip
        options: dict[str, Any] = {
            "config": uvicorn.Config(road, log_config=None, access_log=False),
            "server_state": ServerState(),
            "app_state": {},
        }
        loop = asyncio.get_running_loop()
        return await loop.create_unix_server(lambda: EdgeProtocol(edge, **options), self.path)


@pytest.fixture
async def lane(tmp_path: Path, fake_clock: FakeClock) -> AsyncIterator[Lane]:
    built = Lane(tmp_path, fake_clock)
    server = await built.serve()
    yield built
    server.close()


def infer(
    target: bytes = b"/v2/models/delay/infer", *, extra: bytes = b"", body: bytes = b"{}"
) -> bytes:
    head = b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n%b" % (target, len(body), extra)
    return head + b"Content-Type: application/octet-stream\r\n\r\n" + body


async def test_a_long_body_takes_the_fast_lane_and_ids_of_one_time_lie_together(
    lane: Lane, fake_clock: FakeClock
) -> None:
    reader, writer = await asyncio.open_unix_connection(lane.path)
    ids = []
    async with asyncio.timeout(10):
        for size, answered in ((10, b"204"), (20_000, b"200"), (40_000, b"200")):
            writer.write(predict("key", body=b" " * size, close=False))
            head = await reader.readuntil(b"\r\n\r\n")
            assert head[9:12] == answered
            if answered == b"200":
                assert await reader.readexactly(5) == b"%d" % size
                ids += re.findall(rb"x-request-id: ([0-9a-f]{32})\r\n", head)
    writer.close()
    assert [id_[:12] for id_ in ids] == [b"%012x" % (fake_clock.wall_us() // 1000)] * 2
    assert ids[0] != ids[1]


async def test_tensors_take_the_fast_lane_unless_they_are_special(lane: Lane) -> None:
    told = b"Inference-Header-Content-Length: 2\r\n"
    reader, writer = await asyncio.open_unix_connection(lane.path)
    async with asyncio.timeout(10):
        for sent, status in (
            (infer(), 204),  # its Host has to be looked at first
            (infer(extra=told), 200),
            (infer(extra=told, body=b"{}" + b"\xff" * 50_000), 200),
            (infer(b"/v2/models/delay/versions/1/infer"), 200),
            (infer(b"/v2/models/de%6Cay/infer"), 204),
            (infer(b"/v2/models/delay/infer?a=b"), 204),
            (infer(b"/v2/models/delay/ready"), 204),
            (infer(b"/v2/models/.delay/infer"), 204),
            (infer(extra=b"Content-Encoding: gzip\r\n"), 204),
            (infer().replace(b"POST", b"GET"), 204),
            (infer(), 200),
        ):
            writer.write(sent)
            head = await reader.readuntil(b"\r\n\r\n")
            assert status_of(head) == status, sent[:80]
            if status == 200:
                size = int(re.findall(rb"content-length: ([0-9]+)", head)[0])
                assert await reader.readexactly(size) == b"%d" % (len(sent) - sent.index(b"{}"))
    writer.close()
    _, second, third, _ = lane.heads
    assert (second.target, second.model) == ("POST /v2/models/delay/infer", "delay")
    assert second.json_bytes == 2
    assert second.lines == (
        b"content-type: application/octet-stream\ninference-header-content-length: 2\n"
    )
    assert third.target == "POST /v2/models/delay/versions/1/infer"


async def test_a_host_that_was_sound_once_is_known_to_every_connection(lane: Lane) -> None:
    statuses = []
    async with asyncio.timeout(10):
        for sent in (infer(), infer(), infer().replace(b"Host: x", b"Host: x y"), infer()):
            reader, writer = await asyncio.open_unix_connection(lane.path)
            writer.write(sent)
            statuses.append(status_of(await reader.readuntil(b"\r\n\r\n")))
            writer.close()
    assert statuses == [204, 200, 400, 200]


async def test_invented_hosts_take_no_more_room_than_there_is(lane: Lane) -> None:
    reader, writer = await asyncio.open_unix_connection(lane.path)
    async with asyncio.timeout(10):
        for number in range(HOSTS_MAX + 1):
            writer.write(infer().replace(b"Host: x", b"Host: x%d" % number))
            assert status_of(await reader.readuntil(b"\r\n\r\n")) == 204
    writer.close()
    assert lane.edge.hosts == {b"x%d" % HOSTS_MAX}


async def test_calls_with_one_head_share_what_it_says(lane: Lane) -> None:
    reader, writer = await asyncio.open_unix_connection(lane.path)
    async with asyncio.timeout(10):
        for body in (b"0", b"1", b"22", b"333", b"broken"):
            writer.write(infer(body=body))
            head = await reader.readuntil(b"\r\n\r\n")
            if status_of(head) != 204:
                size = int(re.findall(rb"content-length: ([0-9]+)", head)[0])
                last = await reader.readexactly(size)
    writer.close()
    assert len(lane.heads) == 4
    assert len({id(one) for one in lane.heads}) == 1
    assert (status_of(head), list(orjson.loads(last))) == (500, ["error"])


async def look_at_every_byte(
    gateway: Running, key: str, again: bytes, longer: bytes, elsewhere: bytes
) -> None:
    """Four connections: five calls that are answered, a stranger's, and one that is malformed."""
    stranger = again.replace(key.encode(), key[:-1].encode() + b"!")
    for malformed in (
        again.replace(b"Host: x", b"Host: x y"),
        again.replace(b"Length: ", b"Length: +"),
        again.replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n"),
        elsewhere,
    ):
        async with gateway.wire() as wire:
            for sent in (again, again, longer, again):
                assert (await wire.ask(sent)).startswith(b"HTTP/1.1 200 ")
            assert (await wire.ask(stranger)).startswith(b"HTTP/1.1 401 ")
            assert (await wire.ask(again)).startswith(b"HTTP/1.1 200 ")
            assert status_of(await wire.ask(malformed)) == 400


async def test_a_head_that_comes_again_still_has_every_byte_looked_at(
    gateway: Running, key: str, replica: FakeReplica
) -> None:
    again = predict(key, close=False)
    longer = predict(key, body=BODY.replace(b"UA", b"Lufthansa"), close=False)
    elsewhere = again.replace(b"POST /predict", b"POST /../predict")
    await look_at_every_byte(gateway, key, again, longer, elsewhere)
    carriers = [orjson.loads(ask.body)["instances"][0]["carrier"] for ask in replica.asked]
    assert carriers == ["UA", "UA", "Lufthansa", "UA", "UA"] * 4


async def test_a_tensor_call_under_a_known_head_still_has_every_byte_looked_at(
    gateway: Running, key: str, replica: FakeReplica
) -> None:
    again = infer(extra=b"Authorization: Bearer %b\r\n" % key.encode())
    longer = again.replace(b"\r\n\r\n{}", b"\r\n\r\n[0]").replace(b"Length: 2", b"Length: 3")
    elsewhere = again.replace(b"/models/delay", b"/models/..")
    await look_at_every_byte(gateway, key, again, longer, elsewhere)
    assert [ask.body for ask in replica.asked] == [b"{}", b"{}", b"[0]", b"{}", b"{}"] * 4


async def test_the_fast_lane_counts_headers_as_well(gateway: Running, key: str) -> None:
    many = b"".join(b"X%d:\r\n" % number for number in range(101))
    async with gateway.wire() as wire:
        for _ in range(3):
            assert status_of(await wire.ask(predict(key, close=False))) == 200
        assert status_of(await wire.ask(predict(key, extra=many))) == 431


async def test_pipelined_requests_with_one_head_are_answered_in_order(
    gateway: Running, key: str
) -> None:
    one, two = predict(key, close=False), predict(key, body=BODY.replace(b"UA", b"B6"), close=False)
    async with gateway.wire() as wire:
        for _ in range(3):
            assert (await wire.ask(one)).startswith(b"HTTP/1.1 200 ")
    answers = await gateway.raw(one, one, one + two + one, two, predict(key))
    carriers = re.findall(rb'"carrier":"(..)"', answers)
    assert carriers == [b"UA", b"UA", b"UA", b"B6", b"UA", b"B6", b"UA"]
