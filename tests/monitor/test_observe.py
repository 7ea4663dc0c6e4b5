"""What was produced, what was stored and what was counted must agree."""

import numpy as np

from contracts.served import DEAD_LETTERS, GROUP, STREAM
from kit.clock import FakeClock
from monitor.adapters.baselines_registry import RegistryBaselines
from monitor.adapters.database_sqlite import Database
from monitor.adapters.history_sqlite import SqliteHistory
from monitor.adapters.ledger_sqlite import SqliteLedger
from monitor.adapters.parts_parquet import ParquetParts
from monitor.adapters.stream_redis import RedisStream
from monitor.observe import Observe
from tests.monitor.world import HOUR_US, MODEL, NOW_US, VERSION, FakeRegistry, Producer

HOUR = NOW_US // HOUR_US


def stored_rows(database: Database, parts: ParquetParts) -> int:
    names = [name for (name,) in database.reader.execute("SELECT name FROM parts")]
    return sum(len(rows) for name in names for rows in parts.read(name))


def counted_rows(history: SqliteHistory, baselines: RegistryBaselines) -> int:
    layout = baselines.known(MODEL, VERSION).layout
    assert layout is not None
    cell = history.cell(MODEL, VERSION, ["production"], HOUR - 48, HOUR + 48, layout.baseline_sha)
    return 0 if cell is None else layout.column(cell, "distance").fact("rows")


def indexed_rows(database: Database) -> int:
    return int(database.reader.execute("SELECT count(*) FROM predictions").fetchone()[0])


async def drain(observe: Observe) -> None:
    idle = 0
    while idle < 3:
        idle = 0 if await observe.step() else idle + 1


async def test_what_is_produced_is_stored_counted_and_acknowledged(
    observe: Observe, producer: Producer, database: Database, parts: ParquetParts,
    history: SqliteHistory, baselines: RegistryBaselines,
) -> None:  # fmt: skip
    producer.send_rows([10, 1, 30])
    await drain(observe)
    assert stored_rows(database, parts) == 41
    assert counted_rows(history, baselines) == 41
    assert indexed_rows(database) == 41
    assert producer.redis.xpending(STREAM, GROUP)["pending"] == 0
    volumes = history.volumes(MODEL, VERSION, ["production"], HOUR, HOUR + 1)
    assert volumes[HOUR].count("rows") == 41


async def test_a_record_sent_twice_counts_once(
    observe: Observe, producer: Producer, database: Database, history: SqliteHistory,
    baselines: RegistryBaselines, parts: ParquetParts,
) -> None:  # fmt: skip
    batch = producer.batch(10)
    producer.send(batch, 1)
    producer.send(batch, 1)
    await drain(observe)
    producer.send(batch, 1)
    await drain(observe)
    assert counted_rows(history, baselines) == 10
    assert stored_rows(database, parts) == 10


async def test_a_request_recorded_under_two_numbers_counts_once(
    observe: Observe, producer: Producer, database: Database, history: SqliteHistory,
    baselines: RegistryBaselines, parts: ParquetParts,
) -> None:  # fmt: skip
    batch = producer.batch(10)
    producer.send(batch, 1)
    producer.send(batch, 2)
    await drain(observe)
    assert counted_rows(history, baselines) == 10
    assert stored_rows(database, parts) == 10


async def test_jumped_numbers_are_missing_until_they_come(
    observe: Observe, producer: Producer, ledger: SqliteLedger, history: SqliteHistory,
    baselines: RegistryBaselines,
) -> None:  # fmt: skip
    late = producer.batch(5)
    producer.send(producer.batch(5), 1)
    producer.send(producer.batch(5), 4)
    await drain(observe)
    assert ledger.missing() == 2
    producer.send(late, 2)
    await drain(observe)
    assert ledger.missing() == 1
    assert counted_rows(history, baselines) == 15


async def test_undecodable_entries_go_to_the_dead_letters_and_nothing_else_suffers(
    observe: Observe, producer: Producer, ledger: SqliteLedger, history: SqliteHistory,
    baselines: RegistryBaselines,
) -> None:  # fmt: skip
    producer.send(producer.batch(5), 1)
    producer.send_raw(b"garbage", 2)
    producer.send_raw(b"", "not a number")
    producer.send(producer.batch(5), 3)
    await drain(observe)
    assert counted_rows(history, baselines) == 10
    assert producer.redis.xlen(DEAD_LETTERS) == 2
    assert producer.redis.xpending(STREAM, GROUP)["pending"] == 0
    assert ledger.missing() == 0


async def test_an_entry_that_cannot_be_applied_is_buried_after_five_deliveries(
    observe: Observe, stream: RedisStream, producer: Producer, history: SqliteHistory,
    baselines: RegistryBaselines,
) -> None:  # fmt: skip
    poison = producer.batch(5)
    poison.statuses["distance"][:] = 77  # no status has this index
    producer.send(producer.batch(5))
    producer.send(poison)
    producer.send(producer.batch(5))
    attempts = 0
    while producer.redis.xlen(DEAD_LETTERS) == 0 and attempts < 10:
        attempts += 1
        try:
            await observe.step()
        except ValueError:
            stream.start_over()
    await drain(observe)
    assert counted_rows(history, baselines) == 10
    assert 2 <= attempts <= 5
    assert producer.redis.xpending(STREAM, GROUP)["pending"] == 0


async def test_rows_of_an_unknown_version_are_stored_and_wait_for_their_baseline(
    observe: Observe, producer: Producer, database: Database, parts: ParquetParts,
    ledger: SqliteLedger, registry: FakeRegistry, history: SqliteHistory,
    baselines: RegistryBaselines, clock: FakeClock,
) -> None:  # fmt: skip
    registry.away = True
    producer.send_rows([10, 20])
    await drain(observe)
    assert baselines.known(MODEL, VERSION).state == "registry_away"
    assert stored_rows(database, parts) == 30
    registry.away = False
    clock.advance_us(60_000_000)
    await observe.recount()
    assert counted_rows(history, baselines) == 30
    await observe.recount()
    assert counted_rows(history, baselines) == 30
    assert ledger.unfolded_versions() == []


async def test_rows_dated_far_ahead_are_stored_but_not_counted(
    observe: Observe, producer: Producer, database: Database, parts: ParquetParts,
    history: SqliteHistory, baselines: RegistryBaselines,
) -> None:  # fmt: skip
    producer.send(producer.batch(5, NOW_US + 40 * HOUR_US))
    producer.send(producer.batch(7))
    await drain(observe)
    assert stored_rows(database, parts) == 12
    assert counted_rows(history, baselines) == 7
    row = database.reader.execute("SELECT rows FROM future_rows").fetchone()
    assert row == (5,)


async def test_a_wiped_redis_is_read_again_from_its_new_beginning(
    observe: Observe, producer: Producer, history: SqliteHistory, baselines: RegistryBaselines
) -> None:
    producer.send_rows([10])
    await drain(observe)
    producer.redis.flushall()
    producer.send_rows([10])
    await drain(observe)
    assert counted_rows(history, baselines) == 20


async def test_the_stream_is_cut_only_below_what_every_group_acknowledged(
    observe: Observe, stream: RedisStream, producer: Producer
) -> None:
    producer.redis.xgroup_create(STREAM, "somebody_else", id="0", mkstream=True)
    producer.send_rows([1, 1, 1])
    await drain(observe)
    assert await stream.trim() == 0
    read = producer.redis.xreadgroup("somebody_else", "c", {STREAM: ">"})
    ids = [entry_id for entry_id, _ in read[0][1]]
    producer.redis.xack(STREAM, "somebody_else", ids[0], ids[2])
    assert await stream.trim() == 1
    producer.redis.xack(STREAM, "somebody_else", ids[1])
    assert await stream.trim() == 2


async def test_entries_of_a_dead_consumer_are_taken_over(
    stream: RedisStream, observe: Observe, producer: Producer, history: SqliteHistory,
    baselines: RegistryBaselines,
) -> None:  # fmt: skip
    producer.send_rows([3])
    producer.redis.xgroup_create(STREAM, GROUP, id="0")
    producer.redis.xreadgroup(GROUP, "dead", {STREAM: ">"})
    entry = producer.redis.xpending_range(STREAM, GROUP, "-", "+", 1)[0]["message_id"]
    producer.redis.xclaim(STREAM, GROUP, "dead", 0, [entry], idle=3_600_000, justid=True)
    await drain(observe)
    assert counted_rows(history, baselines) == 3


async def test_a_million_categories_do_not_grow_the_counts(
    observe: Observe, producer: Producer, database: Database
) -> None:
    rows = 2_000
    names = tuple(f"port-{i}" for i in range(rows))
    batch = producer.batch(rows)
    producer.send(producer.batch(rows))
    await drain(observe)
    size = database.reader.execute("SELECT sum(length(integers)) FROM cells").fetchone()[0]
    batch.strings["origin"] = names
    producer.send(batch)
    await drain(observe)
    after = database.reader.execute("SELECT sum(length(integers)) FROM cells").fetchone()[0]
    assert after < 2 * size


async def test_columns_of_nothing_but_nan_are_counted_as_such(
    observe: Observe, producer: Producer, history: SqliteHistory, baselines: RegistryBaselines
) -> None:
    batch = producer.batch(10)
    batch.numbers["distance"] = np.full(10, np.nan)
    producer.send(batch)
    await drain(observe)
    layout = baselines.known(MODEL, VERSION).layout
    assert layout is not None
    cell = history.cell(MODEL, VERSION, ["production"], HOUR, HOUR + 1, layout.baseline_sha)
    assert cell is not None
    column = layout.column(cell, "distance")
    assert column.fact("nans") == 10
    assert column.counted == 0
