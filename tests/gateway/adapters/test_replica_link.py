import asyncio
from typing import cast

from contracts.frames import Answer, pack_answer
from gateway.adapters.replica_link import BEHIND_S_MAX, ReplicaLink


class Time:
    """Stands for the loop, of which a link asks the time."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def time(self) -> float:
        return self.now_s


def test_a_replica_that_answers_is_busy_and_not_behind_however_much_it_has_not_read() -> None:
    time = Time()
    link = ReplicaLink("unix:///none", cast("asyncio.AbstractEventLoop", time))
    seen = [link.behind]
    link.pause_writing()
    for _ in range(10):
        time.now_s += BEHIND_S_MAX * 0.9
        seen.append(link.behind)
        link.data_received(pack_answer(1, Answer(200, b"{}")))
    assert seen == [False] * 11
    time.now_s += BEHIND_S_MAX * 1.1
    seen.append(link.behind)
    link.resume_writing()
    assert [*seen[11:], link.behind] == [True, False]
