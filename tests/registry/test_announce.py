"""Replica reports: who is live, and who died with a new version at work."""

import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from contracts.routing import RoutingTable
from kit.clock import FakeClock
from registry.announce import Announcer
from tests.registry.scenes import Desk, report


@pytest.fixture
async def desk(tmp_path: Path, fake_clock: FakeClock) -> AsyncIterator[Desk]:
    async with Desk(tmp_path, fake_clock) as desk:
        yield desk


async def push(urls: Sequence[str], table: RoutingTable) -> None:
    """Nobody gave an address."""


async def hear(announcer: Announcer, boot: str, *, stopping: bool = False) -> None:
    """A report of the replica in its life ``boot``."""
    said = report("1", "2").model_copy(update={"boot": boot, "stopping": stopping})
    await announcer.report(said)


async def test_a_replica_that_dies_twice_with_the_canary_takes_it_back(desk: Desk) -> None:
    announcer = Announcer(desk.ledger, push, desk.clock, 10.0)
    await hear(announcer, "a")
    await desk.start()
    await desk.steer()
    assert (await desk.last()).weight == 0.05
    await hear(announcer, "b")
    await desk.steer()
    assert ((await desk.last()).status, (await desk.last()).crashes) == ("running", 1)
    await hear(announcer, "c")
    await desk.steer()
    assert (await desk.last()).status == "rolled_back"


async def test_a_replica_that_was_asked_to_stop_did_not_crash_and_is_not_waited_for(
    desk: Desk,
) -> None:
    announcer = Announcer(desk.ledger, push, desk.clock, 10.0)
    await hear(announcer, "a")
    await desk.start()
    await desk.steer()
    for boot in "bcd":
        await hear(announcer, boot, stopping=False)
        await hear(announcer, boot, stopping=True)
    assert (await desk.last()).crashes == 1  # a, which never said that it stops
    await desk.steer()
    held = (await desk.last()).verdict
    assert held is not None
    assert "no inference replica reports" in held.sentence


async def test_two_processes_of_one_name_are_no_row_of_crashes(desk: Desk) -> None:
    announcer = Announcer(desk.ledger, push, desk.clock, 10.0)
    await hear(announcer, "a")
    await desk.start()
    await desk.steer()
    for boot in "bababa":
        await hear(announcer, boot)
    assert (await desk.last()).crashes == 1


async def test_a_database_restored_under_a_running_registry_is_what_counts(
    desk: Desk, tmp_path: Path
) -> None:
    announcer = Announcer(desk.ledger, push, desk.clock, 10.0)
    database, copy = tmp_path / "r" / "registry.db", tmp_path / "copy.db"
    with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
    await desk.start()
    await announcer.refresh()
    newer = announcer.table
    with closing(sqlite3.connect(copy)) as source, closing(sqlite3.connect(database)) as target:
        source.backup(target)
    table = await announcer.beyond(newer.tag, 20.0)
    assert (table.epoch, table.models["delay"].warm) == (newer.epoch - 1, ())


async def test_an_unchanged_report_is_not_written_again_at_once(desk: Desk) -> None:
    announcer = Announcer(desk.ledger, push, desk.clock, 9.0)
    await hear(announcer, "a")
    first = (await announcer.replicas())[0].seen_wall_us
    desk.clock.step_us(2_000_000)
    await hear(announcer, "a")
    assert (await announcer.replicas())[0].seen_wall_us == first
    desk.clock.step_us(2_000_000)
    await hear(announcer, "a")
    assert (await announcer.replicas())[0].seen_wall_us == first + 4_000_000
