"""Raw sockets against the whole gateway: what no HTTP client would send."""

import asyncio
import re
from urllib.parse import unquote

import orjson

from tests.gateway.adapters.raw_requests import (
    BODY,
    MALFORMED,
    TOO_LARGE,
    TRAILERS,
    predict,
    problem_of,
    status_of,
)
from tests.gateway.replica import FakeReplica
from tests.gateway.running import Running

IN_CHUNKS = b"Transfer-Encoding: chunked\r\n\r\n2;" + b"a" * 400_000
"""More framing than body."""


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


async def test_an_encoded_prediction_is_not_read(gateway: Running, key: str) -> None:
    for _ in range(2):
        answer = await gateway.raw(predict(key, extra=b"Content-Encoding: gzip\r\n"))
        assert status_of(answer) == 415


async def test_an_ordinary_answer_leaves_in_one_piece(gateway: Running) -> None:
    async with gateway.wire() as wire:
        for _ in range(3):
            wire.writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            async with asyncio.timeout(5):
                piece = await wire.reader.read(65_536)
            assert piece.endswith(b'\r\n\r\n{"live":true}')
