import asyncio

import pytest

from gateway.adapters.presence import CallerLeft, Presence


class Work:
    """Waits until it is told to end, and says how it ended."""

    def __init__(self) -> None:
        self.may_end = asyncio.Event()
        self.ended = "not begun"

    async def __call__(self) -> str:
        self.ended = "cancelled"
        await self.may_end.wait()
        self.ended = "whole"
        return "answer"


async def begun(presence: Presence, work: Work) -> "asyncio.Task[str]":
    task = asyncio.ensure_future(presence.while_there(work()))
    await asyncio.sleep(0)
    return task


async def test_work_for_who_stays_is_done_and_may_come_again() -> None:
    presence, work = Presence(), Work()
    work.may_end.set()
    assert [await presence.while_there(work()) for _ in range(2)] == ["answer"] * 2


async def test_work_for_who_leaves_is_cancelled_and_nothing_else_is() -> None:
    presence, work = Presence(), Work()
    task = await begun(presence, work)
    presence.leave()
    with pytest.raises(CallerLeft):
        await task
    assert (work.ended, task.cancelled(), task.cancelling()) == ("cancelled", False, 0)


async def test_work_for_who_has_left_is_not_begun() -> None:
    presence, work = Presence(), Work()
    presence.leave()
    with pytest.raises(CallerLeft):
        await presence.while_there(work())
    assert work.ended == "not begun"


@pytest.mark.parametrize("leaves_too", [False, True])
async def test_somebody_elses_cancellation_is_not_swallowed(leaves_too: bool) -> None:
    presence, work = Presence(), Work()
    task = await begun(presence, work)
    task.cancel()
    if leaves_too:
        presence.leave()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert work.ended == "cancelled"
