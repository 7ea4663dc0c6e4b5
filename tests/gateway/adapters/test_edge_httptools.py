"""Raw sockets against the whole gateway: what no HTTP client would send."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import orjson
import pytest
import uvicorn
from uvicorn.server import ServerState

from gateway.adapters.edge import Edge, EdgeTimes
from gateway.adapters.edge_httptools import EdgeProtocol
from gateway.domain.exchange import Question, Reply
from gateway.domain.head import HeadLimits
from gateway.domain.open_inference import InferHead
from kit.clock import FakeClock
from tests.gateway.adapters.raw_requests import MALFORMED, TOO_LARGE, TRAILERS
from tests.gateway.replica import FakeReplica
from tests.gateway.running import Running, running_gateway
from tests.polling import until

BODY = b'{"model":"delay","instances":[{"carrier":"UA"}]}'
IN_CHUNKS = b"Transfer-Encoding: chunked\r\n\r\n2;" + b"a" * 400_000
"""More framing than body."""


def predict(key: str, *, extra: bytes = b"", body: bytes = BODY, close: bool = True) -> bytes:
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + key.encode()
    head += b"\r\nContent-Length: %d\r\n" % len(body) + extra
    return head + (b"Connection: close\r\n\r\n" if close else b"\r\n") + body


def status_of(answer: bytes) -> int:
    assert answer.startswith(b"HTTP/1.1 "), answer[:200]
    return int(answer[9:12])


def problem_of(answer: bytes) -> str:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"content-type: application/problem+json" in head
    assert b"connection: close" in head
    return str(orjson.loads(body)["code"])


async def test_what_could_be_read_in_two_ways_is_refused_and_closed(
    gateway: Running, replica: FakeReplica
) -> None:
    smuggled = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    for what, sent in MALFORMED:
        answer = await gateway.raw(sent + smuggled)
        assert len(re.findall(rb"HTTP/1.1 \d{3} ", answer)) == 1, what
        assert (status_of(answer), problem_of(answer)) == (400, "malformed-http"), what
    assert replica.asked == []


async def test_what_is_too_large_is_refused_before_it_is_read(gateway: Running) -> None:
    for sent, status, code in TOO_LARGE:
        answer = await gateway.raw(sent)
        assert (status_of(answer), problem_of(answer)) == (status, code), sent[:80]


async def test_a_body_that_is_not_taken_is_told_by_its_path(gateway: Running, key: str) -> None:
    told = b"Content-Length: 9999999\r\n\r\n"
    for path, rest in (
        (b"/predict", told),
        (b"/predict?a=b", IN_CHUNKS),
        (b"/v1/models/a%20b/versions/1?c=d", told),
    ):
        head = b"POST %b HTTP/1.1\r\nHost: x\r\nX-API-Key: %b\r\n" % (path, key.encode())
        answer = await gateway.raw(head + rest)
        assert status_of(answer) == 413
        instance = orjson.loads(answer.partition(b"\r\n\r\n")[2])["instance"]
        assert instance == unquote(path.decode()).partition("?")[0]


async def test_what_is_answered_already_gets_no_second_answer(gateway: Running) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    head, chunk = IN_CHUNKS[:32], IN_CHUNKS[32:]
    writer.write(b"POST /v1/keys HTTP/1.1\r\nHost: x\r\n" + head)
    async with asyncio.timeout(5):
        assert b"401" in await reader.readuntil(b"\r\n")
        writer.write(chunk)
        assert b"HTTP/1.1 4" not in await reader.read()
    writer.close()


async def test_a_fault_of_the_head_names_no_path(gateway: Running, key: str) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    for sent in (predict(key, close=False), b"GET /v1/%zz HTTP/1.1\r\nHost: x\r\n\r\n"):
        writer.write(sent)
        async with asyncio.timeout(5):
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
            body = orjson.loads(await reader.readexactly(length))
    assert (body["code"], body["instance"]) == ("malformed-http", "")
    writer.close()


async def test_a_fault_on_v2_is_an_error_text(gateway: Running) -> None:
    answer = await gateway.raw(b"GET /v2/..%2f HTTP/1.1\r\nHost: x\r\n\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"content-type: application/json" in head
    assert list(orjson.loads(body)) == ["error"]


async def test_a_byte_at_a_time_is_still_one_request(gateway: Running, key: str) -> None:
    sent = predict(key)
    answer = await gateway.raw(*(sent[i : i + 1] for i in range(len(sent))))
    assert status_of(answer) == 200
    assert b'"target":"delay"' in answer


async def test_pipelined_requests_are_answered_in_order(
    gateway: Running, key: str, replica: FakeReplica
) -> None:
    first = predict(key, close=False)  # teaches the connection its host
    health = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    two = predict(key, body=BODY.replace(b"UA", b"ZZ"), close=False)
    answer = await gateway.raw(first + first + health + two + first + health + predict(key))
    assert answer.count(b"HTTP/1.1 200 OK") == 7
    marks = [b'{"carrier":"UA"}', b'{"carrier":"UA"}', b'"live"', b"ZZ", b"UA", b'"live"', b"UA"]
    at = 0
    for mark in marks:
        at = answer.index(mark, at) + 1


async def test_a_fault_behind_a_pending_request_never_takes_its_place(
    gateway: Running, key: str, replica: FakeReplica
) -> None:
    await gateway.raw(predict(key))
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(predict(key, close=False))
    assert b"200 OK" in await reader.readuntil(b"\r\n")
    replica.rule = lambda kind, ask: None
    writer.write(predict(key, close=False, extra=b"X-Request-Timeout-Ms: 200\r\n"))
    writer.write(b"BROKEN\r\n\r\n")
    async with asyncio.timeout(5):
        rest = await reader.read()
    assert b"504 Gateway Timeout" in rest
    assert b"malformed-http" not in rest
    writer.close()


async def test_expect_100_continue_is_answered(gateway: Running, key: str) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    sent = predict(key, extra=b"Expect: 100-continue\r\n")
    head, body = sent[: -len(BODY)], sent[-len(BODY) :]
    writer.write(head)
    async with asyncio.timeout(5):
        assert b"100 Continue" in await reader.readuntil(b"\r\n\r\n")
        writer.write(body)
        assert b"200 OK" in await reader.read()
    writer.close()


async def test_a_chunked_body_is_one_body(gateway: Running, key: str) -> None:
    head = f"POST /predict HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\nConnection: close\r\n"
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in BODY) + b"0\r\n\r\n"
    answer = await gateway.raw(head.encode() + b"Transfer-Encoding: chunked\r\n\r\n" + chunks)
    assert status_of(answer) == 200


async def test_a_chunked_body_brings_no_trailers_and_little_besides_its_bytes(
    gateway: Running, key: str, replica: FakeReplica
) -> None:
    head = f"POST /predict HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\n".encode()
    for what, body, code in TRAILERS:
        answer = await gateway.raw(head + b"Transfer-Encoding: chunked\r\n\r\n", body)
        assert problem_of(answer) == code, what
    assert replica.asked == []


async def test_http_1_0_is_answered_and_closed(gateway: Running, key: str) -> None:
    sent = predict(key, close=False).replace(b"HTTP/1.1", b"HTTP/1.0")
    assert status_of(await gateway.raw(sent)) == 200


async def test_a_head_of_no_question_has_no_body(gateway: Running) -> None:
    answer = await gateway.raw(b"HEAD /nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert status_of(answer) == 404
    assert answer.endswith(b"\r\n\r\n")


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


async def test_an_encoded_prediction_is_not_read(gateway: Running, key: str) -> None:
    for _ in range(2):
        answer = await gateway.raw(predict(key, extra=b"Content-Encoding: gzip\r\n"))
        assert status_of(answer) == 415


async def test_a_head_that_comes_again_still_has_every_byte_looked_at(
    gateway: Running, key: str, replica: FakeReplica
) -> None:
    again = predict(key, close=False)
    longer = predict(key, body=BODY.replace(b"UA", b"Lufthansa"), close=False)
    stranger = again.replace(key.encode(), key[:-1].encode() + b"!")
    for last, status in (
        (again.replace(b"Host: x", b"Host: x y"), 400),
        (again.replace(b"Length: ", b"Length: +"), 400),
        (again.replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n"), 400),
        (again.replace(b"POST /predict", b"POST /../predict"), 400),
    ):
        async with gateway.wire() as wire:
            for sent in (again, again, longer, again):
                assert (await wire.ask(sent)).startswith(b"HTTP/1.1 200 ")
            assert (await wire.ask(stranger)).startswith(b"HTTP/1.1 401 ")
            assert (await wire.ask(again)).startswith(b"HTTP/1.1 200 ")
            assert status_of(await wire.ask(last)) == status
    carriers = [orjson.loads(ask.body)["instances"][0]["carrier"] for ask in replica.asked]
    assert carriers == ["UA", "UA", "Lufthansa", "UA", "UA"] * 4


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
        edge = Edge(
            self._predict, self._infer, HeadLimits(), EdgeTimes(), self._clock,
            connections_max=9, access_log_share=0,
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


def infer(
    target: bytes = b"/v2/models/delay/infer", *, extra: bytes = b"", body: bytes = b"{}"
) -> bytes:
    head = b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n%b" % (target, len(body), extra)
    return head + b"Content-Type: application/octet-stream\r\n\r\n" + body


async def test_tensors_take_the_fast_lane_unless_they_are_special(lane: Lane) -> None:
    told = b"Inference-Header-Content-Length: 2\r\n"
    reader, writer = await asyncio.open_unix_connection(lane.path)
    async with asyncio.timeout(10):
        for sent, status in (
            (infer(), 204),  # the first of a connection
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


async def test_a_tensor_call_under_a_known_head_still_has_every_byte_looked_at(
    gateway: Running, key: str, replica: FakeReplica
) -> None:
    again = infer(extra=b"Authorization: Bearer %b\r\n" % key.encode())
    longer = again.replace(b"\r\n\r\n{}", b"\r\n\r\n[0]").replace(b"Length: 2", b"Length: 3")
    stranger = again.replace(key.encode(), key[:-1].encode() + b"!")
    for last, status in (
        (again.replace(b"Host: x", b"Host: x y"), 400),
        (again.replace(b"Length: ", b"Length: +"), 400),
        (again.replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n"), 400),
        (again.replace(b"/models/delay", b"/models/.."), 400),
    ):
        async with gateway.wire() as wire:
            for sent in (again, again, longer, again):
                assert (await wire.ask(sent)).startswith(b"HTTP/1.1 200 ")
            assert (await wire.ask(stranger)).startswith(b"HTTP/1.1 401 ")
            assert (await wire.ask(again)).startswith(b"HTTP/1.1 200 ")
            assert status_of(await wire.ask(last)) == status
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


async def test_an_ordinary_answer_leaves_in_one_piece(gateway: Running) -> None:
    async with gateway.wire() as wire:
        for _ in range(3):
            wire.writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            async with asyncio.timeout(5):
                piece = await wire.reader.read(65_536)
            assert piece.endswith(b'\r\n\r\n{"live":true}')
