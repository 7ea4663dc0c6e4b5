"""Which routing table counts: the newest, unless the registry itself has gone back."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

from contracts.routing import Arm, ModelRoute, RoutingTable
from inference.follow import Follow
from inference.ports import Registry
from kit.clock import FakeClock
from tests.polling import until


def table(epoch: int, *models: str, version: str = "1", issued_us: int = 0) -> RoutingTable:
    """Each model's traffic goes to that version."""
    route = ModelRoute(arms=(Arm(version=version, variant="production", weight=1.0),))
    return RoutingTable(epoch=epoch, issued_us=issued_us, models=dict.fromkeys(models, route))


class LongPolls:
    """A registry whose table a test may replace; a poll waits while the asker has it already."""

    def __init__(self, first: RoutingTable) -> None:
        self.table_now = first
        self.asked: list[str | None] = []
        self._woken = asyncio.Event()

    def become(self, table: RoutingTable) -> None:
        self.table_now = table
        self._woken.set()

    async def table(self, known: str | None, wait_s: float) -> RoutingTable | None:
        self.asked.append(known)
        while known == self.table_now.tag:
            self._woken.clear()
            await self._woken.wait()
        return self.table_now


@asynccontextmanager
async def following(registry: LongPolls, clock: FakeClock) -> AsyncIterator[Follow]:
    """A follower that has taken what the registry had at first."""
    follow = Follow(cast("Registry", registry), clock, 30.0)
    polling = asyncio.ensure_future(follow.poll_for_ever())
    try:
        await until(lambda: follow.table is registry.table_now)
        yield follow
    finally:
        polling.cancel()


def test_of_pushed_tables_the_newest_wins(fake_clock: FakeClock) -> None:
    follow = Follow(cast("Registry", None), fake_clock, 30.0)
    newer, older = table(5, "risk", version="2"), table(4, "risk")
    follow.offer(newer)
    follow.offer(older)
    assert follow.table is newer


async def test_a_registry_restored_from_a_copy_is_obeyed(fake_clock: FakeClock) -> None:
    registry = LongPolls(table(57, "risk", version="4"))
    async with following(registry, fake_clock) as follow:
        restored = table(40, "risk", version="3")
        registry.become(restored)
        await until(lambda: follow.table is restored)


async def test_a_restored_registry_that_uses_an_epoch_again_is_obeyed(
    fake_clock: FakeClock,
) -> None:
    registry = LongPolls(table(57, "risk", version="4", issued_us=1))
    async with following(registry, fake_clock) as follow:
        other = table(57, "risk", version="3", issued_us=2)
        registry.become(other)
        await until(lambda: follow.table is other)


async def test_a_registry_that_lost_a_model_is_obeyed_when_it_knows_it_again(
    fake_clock: FakeClock,
) -> None:
    registry = LongPolls(served := table(57, "risk", "delay"))
    async with following(registry, fake_clock) as follow:
        registry.become(table(40, "delay", version="3"))
        await until(lambda: len(registry.asked) >= 3)
        follow.offer(table(58, "delay"))  # also not when it has counted past what is served
        assert follow.table is served
        whole = table(59, "delay", "risk")
        registry.become(whole)
        await until(lambda: follow.table is whole)


async def test_a_registry_that_is_not_obeyed_is_asked_once_a_second(
    fake_clock: FakeClock,
) -> None:
    registry = LongPolls(table(57, "risk"))
    async with following(registry, fake_clock):
        registry.become(table(0))
        await until(lambda: len(registry.asked) >= 12)
        assert fake_clock.monotonic_ns() >= (len(registry.asked) - 3) * 1_000_000_000


async def test_a_model_that_is_taken_out_of_service_goes(fake_clock: FakeClock) -> None:
    registry = LongPolls(table(5, "risk", "delay"))
    async with following(registry, fake_clock) as follow:
        fewer = table(6, "delay")
        registry.become(fewer)
        await until(lambda: follow.table is fewer)


async def test_a_push_that_overtakes_the_answer_to_a_poll_stays(fake_clock: FakeClock) -> None:
    pushed = table(7, "risk", version="2")

    class Overtaken(LongPolls):
        async def table(self, known: str | None, wait_s: float) -> RoutingTable | None:
            if len(self.asked) == 1:
                self.asked.append(known)
                self.table_now = pushed
                follow.offer(pushed)
                return table(6, "risk")
            return await super().table(known, wait_s)

    registry = Overtaken(table(5, "risk"))
    follow = Follow(cast("Registry", registry), fake_clock, 30.0)
    polling = asyncio.ensure_future(follow.poll_for_ever())
    await until(lambda: len(registry.asked) == 3)
    polling.cancel()
    assert follow.table is pushed
