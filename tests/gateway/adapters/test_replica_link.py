import asyncio
import time
from typing import Any, cast

from contracts.frames import Answer, Ask, FrameKind, FrameReader, pack_answer, unpack_ask
from gateway.adapters.replica_link import (
    ASKS_A_WRITE,
    BEHIND_S_MAX,
    EJECT_S_MAX,
    FAULTS_MAX,
    ReplicaLink,
)

ASK = Ask(1000, b"0" * 16, "delay", "ann", "", b"", b"{}")


class Time:
    """Stands for the loop, of which a link asks the time."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def time(self) -> float:
        return self.now_s


class Written(asyncio.Transport):
    """Keeps what is written: how many frames each time, and the asks."""

    def __init__(self) -> None:
        super().__init__()
        self.frames: list[int] = []
        self.asks: list[Ask] = []

    def write(self, data: Any) -> None:
        sent = [(kind, payload) for kind, _, payload in FrameReader().feed(data)]
        self.frames.append(len(sent))
        self.asks += [unpack_ask(payload) for kind, payload in sent if kind == FrameKind.PREDICT]


def linked() -> tuple[ReplicaLink, Written]:
    link, written = ReplicaLink("unix:///none", asyncio.get_running_loop()), Written()
    link.connection_made(written)
    return link, written


async def test_the_few_asks_of_one_turn_are_one_write() -> None:
    link, written = linked()
    for _ in range(ASKS_A_WRITE - 1):
        link.send(FrameKind.PREDICT, ASK, 1, 1)
    assert written.frames == []
    await asyncio.sleep(0)
    assert written.frames == [ASKS_A_WRITE - 1]


async def test_a_replica_begins_with_many_asks_before_the_turn_ends() -> None:
    link, written = linked()
    for _ in range(2 * ASKS_A_WRITE + 1):
        link.send(FrameKind.PREDICT, ASK, 1, 1)
    assert written.frames == [ASKS_A_WRITE, ASKS_A_WRITE]
    await asyncio.sleep(0)
    assert written.frames == [ASKS_A_WRITE, ASKS_A_WRITE, 1]


async def test_an_ask_without_room_at_the_replica_waits_here_and_ages() -> None:
    link, written = linked()
    link.pause_writing()
    due_ns = time.monotonic_ns() + 500_000_000
    _, soon = link.send(FrameKind.PREDICT, ASK, 1, due_ns)
    link.send(FrameKind.PREDICT, ASK, 1, time.monotonic_ns())
    left, _ = link.send(FrameKind.PREDICT, ASK, 1, due_ns)
    await asyncio.sleep(0)
    assert written.asks == []
    link.cancel(left)
    link.resume_writing()
    (ask,) = written.asks
    assert written.frames == [1]  # of who left while it waited, the replica hears nothing
    assert 0 < ask.remaining_ms <= 500
    assert ask == ASK._replace(remaining_ms=ask.remaining_ms)
    assert link.expire(time.monotonic_ns()) == 1
    assert not soon.future.done()
    _, at_once = link.send(FrameKind.PREDICT, ASK, 1, due_ns)
    assert soon.held_ns > at_once.held_ns == 0


def test_a_replica_that_answers_is_busy_and_not_behind_however_much_it_has_not_read() -> None:
    clock = Time()
    link = ReplicaLink("unix:///none", cast("asyncio.AbstractEventLoop", clock))
    seen = [link.behind]
    link.pause_writing()
    for _ in range(10):
        clock.now_s += BEHIND_S_MAX * 0.9
        seen.append(link.behind)
        link.data_received(pack_answer(1, Answer(200, b"{}")))
    assert seen == [False] * 11
    clock.now_s += BEHIND_S_MAX * 1.1
    seen.append(link.behind)
    link.resume_writing()
    assert [*seen[11:], link.behind] == [True, False]


def test_a_replica_that_was_put_aside_for_days_is_put_aside_again() -> None:
    link = ReplicaLink("unix:///none", cast("asyncio.AbstractEventLoop", Time()))
    now_ns = 0
    for _ in range(3_000):
        link.faults = FAULTS_MAX
        assert link.eject(now_ns)
        assert link.ejected_until_ns - now_ns <= EJECT_S_MAX * 1e9
        now_ns = link.ejected_until_ns
