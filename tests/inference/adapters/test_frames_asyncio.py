"""What one turn of the event loop brings is one batch, at once; no bytes break the listener."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.frames import (
    FRAME_BYTES_MAX,
    Answer,
    Ask,
    FrameKind,
    FrameReader,
    pack_ask,
    pack_signal,
    unpack_answer,
)
from inference.adapters.frames_asyncio import UNREAD_S_MAX, FramesConnection, FramesListener
from inference.domain.asked import Arrival
from kit.clock import Clock, FakeClock, SystemClock


class Wire(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.closed = False
        self.unread = 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True

    def get_write_buffer_size(self) -> int:
        return self.unread


class Taken:
    """A listener whose batches are kept, and one connection to it."""

    def __init__(self, delay_us: int = 0, clock: Clock | None = None) -> None:
        self.batches: list[list[Arrival]] = []
        self.listener = FramesListener(
            "unix:///nowhere",
            clock=clock or SystemClock(),
            predict=self.keep,
            infer=self.keep,
            delay_us=delay_us,
        )
        self.wire = Wire()
        self.connection = FramesConnection(self.listener, asyncio.get_running_loop())
        self.connection.connection_made(self.wire)

    def keep(self, arrivals: Sequence[Arrival]) -> None:
        self.batches.append(list(arrivals))


def ask(frame_id: int, kind: FrameKind = FrameKind.PREDICT) -> bytes:
    return pack_ask(kind, frame_id, Ask(1000, bytes(16), "m", "p", "", b"", b"{}"))


async def test_an_ask_that_comes_alone_is_handed_on_in_the_next_turn() -> None:
    taken = Taken()
    taken.connection.data_received(ask(1))
    await asyncio.sleep(0)
    assert [len(batch) for batch in taken.batches] == [1]


async def test_asks_of_one_turn_are_one_batch_over_all_connections() -> None:
    taken = Taken()
    other = FramesConnection(taken.listener, asyncio.get_running_loop())
    other.connection_made(Wire())
    taken.connection.data_received(ask(1) + ask(2))
    other.data_received(ask(1))
    taken.connection.data_received(ask(3))
    await asyncio.sleep(0)
    assert [len(batch) for batch in taken.batches] == [4]


async def test_answers_of_one_turn_are_one_write() -> None:
    taken = Taken()
    taken.connection.data_received(ask(7) + ask(8))
    await asyncio.sleep(0)
    for arrival in taken.batches[0]:
        arrival.reply(Answer(200, b"{}"))
    await asyncio.sleep(0)
    (written,) = taken.wire.written
    assert [frame_id for _, frame_id, _ in FrameReader().feed(written)] == [7, 8]


async def test_an_answer_says_what_was_spent_on_it_here() -> None:
    clock = FakeClock()
    taken = Taken(clock=clock)
    taken.connection.data_received(ask(7))
    await asyncio.sleep(0)
    clock.advance_us(2_500)
    taken.batches[0][0].reply(Answer(200, b"{}"))
    await asyncio.sleep(0)
    ((_, _, payload),) = FrameReader().feed(taken.wire.written[0])
    assert unpack_answer(payload).spent_us == 2_500


async def test_an_answer_beyond_a_frame_is_refused_and_its_neighbours_get_theirs() -> None:
    taken = Taken(clock=FakeClock())
    taken.connection.data_received(ask(1) + ask(2, FrameKind.INFER) + ask(3))
    await asyncio.sleep(0)
    (first, third), (second,) = taken.batches
    first.rows = 7  # were computed, and are paid for
    for arrival in (first, second):
        arrival.reply(Answer(200, bytes(FRAME_BYTES_MAX)))
    third.reply(Answer(200, b"{}"))
    await asyncio.sleep(0)
    (written,) = taken.wire.written
    answers = [unpack_answer(payload) for _, _, payload in FrameReader().feed(written)]
    assert [answer.status for answer in answers] == [413, 413, 200]
    assert answers[0].rows == 7
    assert orjson.loads(answers[0].body)["code"] == "content-too-large"
    assert orjson.loads(answers[1].body).keys() == {"error"}


async def test_an_answer_does_not_wait_until_other_models_have_run() -> None:
    clock = FakeClock()
    taken = Taken(clock=clock)
    taken.connection.data_received(ask(1) + ask(2) + ask(3))
    await asyncio.sleep(0)
    first, second, third = taken.batches[0]
    first.reply(Answer(200, b"{}"))
    assert taken.wire.written == []
    clock.advance_us(1000)
    second.reply(Answer(200, b"{}"))
    assert len(taken.wire.written) == 1
    third.reply(Answer(200, b"{}"))
    await asyncio.sleep(0)
    assert [len(list(FrameReader().feed(data))) for data in taken.wire.written] == [2, 1]


async def test_a_peer_is_left_only_when_it_has_not_read_for_a_while() -> None:
    taken = Taken()
    taken.wire.unread = 1 << 30
    taken.connection.pause_writing()
    for number, since_s in enumerate((0.0, UNREAD_S_MAX + 1)):
        taken.connection._unread_since_s = asyncio.get_running_loop().time() - since_s
        taken.connection.data_received(ask(number))
        await asyncio.sleep(0)
        taken.batches[-1][0].reply(Answer(200, b"{}"))
        assert not taken.wire.closed
        await asyncio.sleep(0)
    assert taken.wire.closed


async def test_a_cancelled_ask_is_no_longer_wanted_and_never_answered() -> None:
    taken = Taken()
    taken.connection.data_received(ask(1) + pack_signal(FrameKind.CANCEL, 1))
    await asyncio.sleep(0)
    (arrival,) = taken.batches[0]
    assert not arrival.wanted
    arrival.reply(Answer(200, b"{}"))
    await asyncio.sleep(0)
    assert taken.wire.written == []


async def test_a_lost_connection_leaves_nothing_wanted() -> None:
    taken = Taken()
    taken.connection.data_received(ask(1))
    taken.connection.connection_lost(None)
    await asyncio.sleep(0)
    assert not taken.batches[0][0].wanted
    taken.batches[0][0].reply(Answer(200, b"{}"))
    assert taken.listener.connections == set()


async def test_a_frame_that_only_an_answering_side_sends_ends_the_connection() -> None:
    taken = Taken()
    taken.connection.data_received(pack_signal(FrameKind.GOAWAY))
    assert taken.wire.closed


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.binary(max_size=60) | st.integers(0, 9).map(ask), max_size=6), st.integers(1, 40)
)
async def test_no_bytes_break_the_listener(pieces: list[bytes], cut: int) -> None:
    taken = Taken()
    data = b"".join(pieces)
    for start in range(0, len(data), cut):
        if not taken.wire.closed:
            taken.connection.data_received(data[start : start + cut])
    await asyncio.sleep(0)
    assert all(isinstance(one.ask, Ask) for batch in taken.batches for one in batch)


async def test_a_stale_socket_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "frames"
    for _ in range(2):
        listener = FramesListener(
            f"unix://{path}", clock=SystemClock(), predict=lambda _: None, infer=lambda _: None
        )
        await listener.start()
        assert path.stat().st_mode & 0o777 == 0o600
        await listener.drain(0.1)
        path.touch()
