"""Over TCP only who shows the service token is heard; a socket file is guarded by its mode."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from contracts.frames import (
    PROTOCOL,
    Answer,
    Ask,
    FrameKind,
    FrameReader,
    pack_ask,
    pack_hello,
    unpack_answer,
)
from inference.adapters import frames_asyncio
from inference.adapters.frames_asyncio import FramesListener
from inference.domain.asked import Arrival
from kit.clock import SystemClock

ASK = pack_ask(FrameKind.PREDICT, 7, Ask(1000, bytes(16), "m", "p", "", b"", b"{}"))
OLDER = pack_hello("right").replace(PROTOCOL.to_bytes(8, "little"), bytes(8))


def answer_all(arrivals: Sequence[Arrival]) -> None:
    for arrival in arrivals:
        arrival.reply(Answer(200, b"{}"))


async def listen(token: str) -> FramesListener:
    listener = FramesListener(
        "tcp://127.0.0.1:0",
        clock=SystemClock(),
        predict=answer_all,
        infer=answer_all,
        service_token=token,
    )
    await listener.start()
    return listener


@pytest.fixture
async def listener() -> AsyncIterator[FramesListener]:
    made = await listen("right")
    yield made
    await made.drain(0.1)


async def said_to(listener: FramesListener, *sent: bytes) -> list[tuple[int, int, bytes]]:
    """The frames that come back until the listener closes, or has answered an ask."""
    host, _, port = listener.address.removeprefix("tcp://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    heard: list[tuple[int, int, bytes]] = []
    frames = FrameReader()
    try:
        async with asyncio.timeout(5):
            for data in sent:
                writer.write(data)
                heard += frames.feed(await reader.read(1000))
            if len(heard) < len(sent):
                assert await reader.read(1000) == b""
    except ConnectionError:
        pass
    finally:
        writer.close()
    return heard


async def test_who_shows_the_token_is_greeted_and_then_answered(listener: FramesListener) -> None:
    greeted, answered = await said_to(listener, pack_hello("right"), ASK)
    assert greeted == (FrameKind.HELLO, PROTOCOL, b"")
    assert answered[:2] == (FrameKind.ANSWER, 7)
    assert unpack_answer(answered[2]).status == 200


@pytest.mark.parametrize(
    "sent",
    [
        pack_hello("wrong"),
        pack_hello(),
        OLDER,
        ASK,
        pack_hello("right") + ASK,  # it has not waited to be greeted
        pack_hello("right" * 500)[:1500],
        b"GET / HTTP/1.1\r\n\r\n",
    ],
)
async def test_a_stranger_is_told_nothing(listener: FramesListener, sent: bytes) -> None:
    assert await said_to(listener, sent) == []
    assert listener.in_flight == 0


async def test_a_stranger_that_says_nothing_is_not_kept(
    listener: FramesListener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frames_asyncio, "HELLO_S_MAX", 0.05)
    assert await said_to(listener, b"") == []


async def test_a_listener_without_a_token_hears_nobody() -> None:
    listener = await listen("")
    assert await said_to(listener, pack_hello("")) == []
    await listener.drain(0.1)
