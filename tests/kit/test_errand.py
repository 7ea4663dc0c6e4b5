"""An errand is a task without the task, until it asks for one."""

import asyncio
import contextvars
from collections.abc import Coroutine
from typing import Any

import pytest

from kit.errand import IN_A_TASK, Errand


async def begun(coroutine: Coroutine[Any, Any, None]) -> Errand:
    """Begun in a callback, as protocols do, and not in the test's task."""
    loop = asyncio.get_running_loop()
    made: asyncio.Future[Errand] = loop.create_future()
    loop.call_soon(lambda: made.set_result(Errand(coroutine, loop, contextvars.Context())))
    return await made


async def test_an_errand_begins_at_once_and_goes_on_when_its_future_is_done() -> None:
    waited: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    seen: list[object] = []

    async def work() -> None:
        seen.append(asyncio.current_task())
        seen.append(await waited)

    before = asyncio.all_tasks()
    await begun(work())
    assert seen == [None]
    assert asyncio.all_tasks() == before
    waited.set_result(7)
    await asyncio.sleep(0)
    assert seen == [None, 7]


async def test_the_rest_of_an_errand_runs_in_a_task_where_it_asks_for_one() -> None:
    done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    async def work() -> None:
        await IN_A_TASK
        async with asyncio.timeout(1):  # raises outside of a task
            await asyncio.sleep(0)
        await IN_A_TASK  # is in one already
        done.set_result(asyncio.current_task() is not None)

    await begun(work())
    assert await done


@pytest.mark.parametrize("in_a_task", [False, True])
async def test_a_cancelled_errand_sees_it_where_it_waits(in_a_task: bool) -> None:
    waited: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    cancelled = asyncio.Event()

    async def work() -> None:
        if in_a_task:
            await IN_A_TASK
        try:
            await waited
        except asyncio.CancelledError:
            cancelled.set()
            raise

    errand = await begun(work())
    await asyncio.sleep(0)
    errand.cancel()
    await asyncio.wait_for(cancelled.wait(), 1)
    await asyncio.sleep(0)
    errand.cancel()  # an ended one is left alone


async def test_errands_may_follow_one_another_in_one_context() -> None:
    loop, context, ended = asyncio.get_running_loop(), contextvars.Context(), 0
    futures = [loop.create_future() for _ in range(3)]

    async def work(future: "asyncio.Future[None]") -> None:
        nonlocal ended
        await future
        ended += 1

    for future in futures:
        Errand(work(future), loop, context)
    for future in futures:
        future.set_result(None)
    await asyncio.sleep(0)
    assert ended == 3
