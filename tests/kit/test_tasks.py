"""Background tasks belong to somebody."""

import asyncio

from kit.tasks import TaskOwner, periodic


async def test_a_task_that_fails_is_started_again() -> None:
    starts = 0
    done = asyncio.Event()

    async def work() -> None:
        nonlocal starts
        starts += 1
        if starts < 3:
            raise OSError("away")
        done.set()

    async with TaskOwner() as tasks:
        tasks.start("work", work, restart=True)
        await asyncio.wait_for(done.wait(), 10)
    assert starts == 3


async def test_stopping_waits_until_every_task_has_ended() -> None:
    ended: list[str] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append("work")

    owner = TaskOwner()
    owner.start("work", work)
    await asyncio.sleep(0)
    await owner.stop()
    assert ended == ["work"]
    assert owner.names == ()


async def test_a_periodic_task_goes_on() -> None:
    turns = 0
    enough = asyncio.Event()

    async def work() -> None:
        nonlocal turns
        turns += 1
        if turns == 3:
            enough.set()

    async with TaskOwner() as tasks:
        tasks.start("tick", periodic(work, every_s=0.001))
        await asyncio.wait_for(enough.wait(), 10)
