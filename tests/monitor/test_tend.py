"""Tending changes how rows are kept, never which."""

from pathlib import Path

import pytest

from kit.clock import FakeClock
from monitor.adapters.database_sqlite import Database
from monitor.adapters.parts_parquet import ParquetParts
from monitor.adapters.store_sqlite import SqliteStore
from monitor.observe import Observe
from monitor.tend import LEFT_ALONE_US, Tend
from tests.monitor.world import HOUR_US, Producer, inline

DAY_US = 24 * HOUR_US


@pytest.fixture
def tend(database: Database, parts: ParquetParts, clock: FakeClock) -> Tend:
    return Tend(SqliteStore(database), parts, inline, clock, keep_us=3 * DAY_US)


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*.parquet"))


def stored_keys(database: Database, parts: ParquetParts) -> list[bytes]:
    names = [name for (name,) in database.reader.execute("SELECT name FROM parts")]
    return sorted(key for name in names for rows in parts.read(name) for key in rows.keys.tolist())


async def test_the_parts_of_an_ended_hour_become_one_and_at_the_end_those_of_the_day(
    tend: Tend, observe: Observe, producer: Producer, database: Database, parts: ParquetParts,
    clock: FakeClock, tmp_path: Path,
) -> None:  # fmt: skip
    clock.advance_us(DAY_US - clock.now_us() % DAY_US)
    for _ in range(9):
        for _ in range(8):
            producer.send(producer.batch(2, clock.now_us()))
            await observe.step()
        clock.advance_us(HOUR_US + LEFT_ALONE_US)
        await tend.run()
    before = stored_keys(database, parts)
    assert len(before) == 9 * 8 * 2
    assert len(files(tmp_path / "events")) == 9
    clock.advance_us(DAY_US)
    await tend.run()
    assert len(files(tmp_path / "events")) == 1
    assert stored_keys(database, parts) == before


async def test_a_join_takes_no_more_parts_than_it_may_and_the_next_takes_the_others(
    observe: Observe, producer: Producer, database: Database, clock: FakeClock
) -> None:
    for _ in range(10):
        producer.send(producer.batch(1, clock.now_us()))
        await observe.step()
    store, ended_us = SqliteStore(database), clock.now_us() + DAY_US
    assert [len(group) for group in store.crowded(ended_us, 8, 9, 100)] == [9]
    assert [len(group) for group in store.crowded(ended_us, 8, 100, 8)] == [8]
    assert store.crowded(ended_us, 8, 100, 7) == []
    assert store.crowded(clock.now_us() - DAY_US, 8, 100, 100) == []


async def test_the_parts_of_an_ended_day_become_one_with_the_same_rows(
    tend: Tend, observe: Observe, producer: Producer, database: Database, parts: ParquetParts,
    clock: FakeClock, tmp_path: Path,
) -> None:  # fmt: skip
    for variant in ("production", "shadow") * 5:
        producer.send(producer.batch(4, variant=variant))
        await observe.step()
    before = stored_keys(database, parts)
    await tend.run()
    assert len(files(tmp_path / "events")) == 10  # the hour has not ended
    clock.advance_us(DAY_US)
    await tend.run()
    assert len(files(tmp_path / "events")) == 1
    assert stored_keys(database, parts) == before
    name = database.reader.execute("SELECT name FROM parts").fetchone()[0]
    assert {rows.lane.variant for rows in parts.read(name)} == {"production", "shadow"}
    assert parts.sweep({name}) == []


async def test_what_is_older_than_the_limit_is_let_go_everywhere(
    tend: Tend, observe: Observe, producer: Producer, database: Database, clock: FakeClock,
    tmp_path: Path,
) -> None:  # fmt: skip
    producer.send_rows([5])
    await observe.step()
    clock.advance_us(5 * DAY_US)
    producer.send_rows([7], clock.now_us())
    await observe.step()
    await tend.run()
    count = database.reader.execute("SELECT coalesce(sum(rows), 0) FROM blocks").fetchone()[0]
    hours = database.reader.execute("SELECT count(*) FROM volumes").fetchone()[0]
    assert (count, hours, len(files(tmp_path / "events"))) == (7, 1, 1)
