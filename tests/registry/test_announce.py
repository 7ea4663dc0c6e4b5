"""Who waits for a newer table is answered by a change, by the end of the wait, or by a stop."""

import asyncio
from typing import Any

from contracts.routing import RoutingTable
from kit.clock import FakeClock
from registry.announce import Announcer


class OneTable:
    """A ledger that holds nothing but a table."""

    def __init__(self) -> None:
        self.table = RoutingTable(epoch=1)

    async def read(self, _: Any) -> Any:
        return self.table

    async def write(self, _: Any) -> Any:
        raise AssertionError("nothing is written here")


async def nobody(_urls: Any, _table: Any) -> None: ...


def announcer(ledger: OneTable) -> Announcer:
    return Announcer(ledger, nobody, FakeClock(), live_s=10)  # type: ignore[arg-type]  # a fake


async def test_a_reader_who_knows_less_is_answered_at_once() -> None:
    assert (await announcer(OneTable()).beyond(None, 60)).epoch == 1


async def test_a_waiting_reader_gets_the_newer_table() -> None:
    ledger = OneTable()
    one = announcer(ledger)
    waiting = asyncio.gather(one.beyond(1, 60), one.beyond(1, 60))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    ledger.table = RoutingTable(epoch=2)
    await one.refresh()
    assert [table.epoch for table in await asyncio.wait_for(waiting, 5)] == [2, 2]


async def test_without_news_the_wait_ends_with_the_same_table() -> None:
    assert (await announcer(OneTable()).beyond(1, 0.01)).epoch == 1


async def test_a_process_that_stops_lets_nobody_wait() -> None:
    one = announcer(OneTable())
    waiting = asyncio.gather(one.beyond(1, 60), one.beyond(1, 60))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    one.release()
    await asyncio.wait_for(waiting, 5)
    await asyncio.wait_for(one.beyond(1, 60), 5)
