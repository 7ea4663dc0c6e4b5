import asyncio
from typing import Any

from contracts.frames import Ask, FrameKind, FrameReader
from gateway.adapters.replica_link import ASKS_A_WRITE, ReplicaLink

ASK = Ask(1000, b"0" * 16, "delay", "ann", "", b"", b"{}")


class Written(asyncio.Transport):
    """Keeps what is written: how many frames each time."""

    def __init__(self) -> None:
        super().__init__()
        self.frames: list[int] = []

    def write(self, data: Any) -> None:
        self.frames.append(len(list(FrameReader().feed(data))))


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
