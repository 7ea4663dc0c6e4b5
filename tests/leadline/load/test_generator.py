import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from leadline.load.generator import run_load

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


@asynccontextmanager
async def server(answer: Callable[[int], bytes | None]) -> AsyncIterator[str]:
    asked = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                await reader.readexactly(length)
                asked += 1
                said = answer(asked)
                if said is None:
                    break
                for piece in (said[:20], said[20:]):
                    writer.write(piece)
                    await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/predict"
    listener.close()


async def test_a_closed_loop_counts_every_answer() -> None:
    async with server(lambda n: ANSWER) as url:
        outcome = await run_load(url, "k", [b"{}", b"[]"], seconds=0.3, concurrency=4)
    assert outcome.statuses[200] == len(outcome.latencies_s) > 20
    assert outcome.broken == outcome.dropped == 0
    assert outcome.requests_per_s == outcome.goodput_per_s


async def test_an_open_loop_asks_at_the_rate() -> None:
    async with server(lambda n: ANSWER) as url:
        outcome = await run_load(url, "k", [b"{}"], seconds=1.0, concurrency=32, rate=200)
    assert 130 < outcome.statuses[200] < 270


async def test_an_open_loop_counts_from_when_a_request_was_due() -> None:
    def stall_once(n: int) -> bytes:
        if n == 5:
            until = time.perf_counter() + 0.3
            while time.perf_counter() < until:
                pass
        return ANSWER

    async with server(stall_once) as url:
        outcome = await run_load(url, "k", [b"{}"], seconds=1.0, concurrency=1, rate=100)
    late = sum(latency > 0.1 for latency in outcome.latencies_s)
    assert late > 10  # all that were due during the stall, not one
    # Told apart: only one was sent before the stall, the others waited for its connection.
    assert sum(latency > 0.1 for latency in outcome.latencies_from_sent_s) == 1
    assert sum(seconds > 0.1 for seconds in outcome.sent_late_s) >= late - 1


async def test_every_answer_counts_from_due_and_from_sent() -> None:
    async with server(lambda n: ANSWER) as url:
        outcome = await run_load(url, "k", [b"{}"], seconds=0.5, concurrency=64, rate=300)
    assert len(outcome.latencies_s) == len(outcome.sent_late_s) > 50
    assert outcome.due - 5 <= len(outcome.latencies_s) <= outcome.due
    for due_s, sent_s, late_s in zip(
        outcome.latencies_s, outcome.latencies_from_sent_s, outcome.sent_late_s, strict=True
    ):
        assert due_s == pytest.approx(sent_s + late_s)
        assert 0 <= late_s < 0.2


async def test_a_body_that_the_system_takes_in_pieces_arrives_whole() -> None:
    body = b'"' + b"x" * 20_000_000 + b'"'  # more than any socket buffer
    async with server(lambda n: ANSWER) as url:
        outcome = await run_load(url, "k", [body], seconds=1.0, concurrency=2)
    assert outcome.statuses[200] > 0
    assert outcome.broken == 0


@pytest.mark.parametrize("status", [401, 429, 503])
async def test_refusals_are_told_apart(status: int) -> None:
    refusal = ANSWER.replace(b"200 OK", b"%d No" % status)
    async with server(lambda n: refusal if n % 2 else ANSWER) as url:
        outcome = await run_load(url, "k", [b"{}"], seconds=0.2, concurrency=2)
    assert outcome.statuses[status] == len(outcome.refused_s) > 0
    assert outcome.statuses[200] == len(outcome.latencies_s) > 0
    assert outcome.goodput_per_s < outcome.requests_per_s


async def test_a_connection_that_ends_is_counted() -> None:
    async with server(lambda n: None if n > 3 else ANSWER) as url:
        outcome = await run_load(url, "k", [b"{}"], seconds=0.5, concurrency=2)
    assert outcome.broken == 2


async def test_a_load_that_is_over_early_keeps_what_it_counted() -> None:
    over = threading.Event()

    def answer(n: int) -> bytes:
        if n == 20:
            over.set()
        return ANSWER

    async with server(answer) as url:
        outcome = await run_load(url, "k", [b"{}"], seconds=60.0, concurrency=2, over=over)
    assert 18 <= outcome.statuses[200] <= 100
    assert 0 < outcome.seconds < 10


async def test_nothing_that_listens_is_an_error() -> None:
    with pytest.raises(OSError, match=r"(refused|connect)"):
        await run_load("http://127.0.0.1:9/predict", "k", [b"{}"], seconds=0.1, concurrency=1)
