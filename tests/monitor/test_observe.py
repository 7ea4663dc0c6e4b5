"""What was produced, what was stored and what was counted must agree."""

import errno
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.manifest import Manifest
from contracts.served import DEAD_LETTERS, GROUP, STREAM
from kit.clock import FakeClock
from kit.redis import connect
from kit.tasks import TaskOwner
from monitor import metrics
from monitor.adapters.baselines_registry import RegistryBaselines
from monitor.adapters.database_sqlite import Database
from monitor.adapters.history_sqlite import SqliteHistory
from monitor.adapters.ledger_sqlite import SqliteLedger
from monitor.adapters.parts_parquet import ParquetParts
from monitor.adapters.stream_redis import RedisStream
from monitor.domain.rows import Rows
from monitor.observe import LINGER_MAX_S, LINGER_MIN_S, Observe, linger_s
from monitor.ports import Entry, Part
from tests.monitor.world import (
    HOUR_US,
    MODEL,
    NOW_US,
    VERSION,
    FakeRegistry,
    Producer,
    inline,
    manifest,
)
from tests.polling import until

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
    return int(database.reader.execute("SELECT coalesce(sum(rows), 0) FROM blocks").fetchone()[0])


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


@pytest.mark.parametrize("rows", [1, 20])
async def test_a_read_takes_about_as_many_bytes_of_small_entries_as_of_large_ones(
    producer: Producer, redis_url: str, clock: FakeClock, rows: int
) -> None:
    producer.send_rows([rows] * 200)
    async with connect(redis_url, purpose="test", timeout_ms=2_000) as redis:
        stream = RedisStream(
            redis, (STREAM,), "m", clock, entries_max=100, block_ms=1, idle_claim_s=60,
            fill_bytes=30_000,
        )  # fmt: skip
        reads: list[list[Entry]] = []
        while len(reads) < 2:  # the first learns how large entries are
            reads.append(await stream.read())
            await stream.acknowledge(reads[-1])
    size = sum(len(entry.data) for entry in reads[-1])
    assert 0.5 * 30_000 < size < 1.5 * 30_000
    read = [entry.number for entries in reads for entry in entries]
    assert read == list(range(1, len(read) + 1))


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


@pytest.mark.parametrize(("task", "waiting"), [("raw", 0), ("classification", 10)])
async def test_rows_of_a_model_of_bare_tensors_wait_for_no_baseline(
    observe: Observe, producer: Producer, registry: FakeRegistry, task: str, waiting: int
) -> None:
    told = manifest(None).model_dump()
    if task == "raw":
        told = {"model": MODEL, "task": "raw", "tensors": {"layout": "raw"}}
    registry.manifest = Manifest.model_validate(told)
    producer.send_rows([10])
    await drain(observe)
    await observe.recount()
    assert metrics.UNFOLDED._value.get() == waiting


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
    numbers = {**batch.numbers, "distance": np.full(10, np.nan)}
    producer.send(replace(batch, numbers=numbers))
    await drain(observe)
    layout = baselines.known(MODEL, VERSION).layout
    assert layout is not None
    cell = history.cell(MODEL, VERSION, ["production"], HOUR, HOUR + 1, layout.baseline_sha)
    assert cell is not None
    column = layout.column(cell, "distance")
    assert column.fact("nans") == 10
    assert column.counted == 0


class FullDisk:
    """Port ``Parts`` on a disk that has no room for the next few writes."""

    def __init__(self, real: ParquetParts, refusals: int) -> None:
        self._real = real
        self._refusals = refusals

    def write(self, rows: Sequence[Rows], first_id: str, last_id: str) -> list[Part]:
        if self._refusals > 0:
            self._refusals -= 1
            raise OSError(errno.ENOSPC, "No space left on device")
        return self._real.write(rows, first_id, last_id)

    def read(self, name: str) -> list[Rows]:
        return self._real.read(name)

    def sweep(self, known: set[str]) -> list[str]:
        return self._real.sweep(known)

    def remove(self, names: Sequence[str]) -> None:
        self._real.remove(names)


async def test_a_full_disk_blocks_and_buries_nothing(
    stream: RedisStream, ledger: SqliteLedger, parts: ParquetParts, database: Database,
    baselines: RegistryBaselines, clock: FakeClock, producer: Producer, history: SqliteHistory,
) -> None:  # fmt: skip
    observe = Observe(
        stream, ledger, FullDisk(parts, 8), baselines, inline, clock,
        future_tolerance_us=HOUR_US, deliveries_max=5,
    )  # fmt: skip
    producer.send_rows([4, 6])
    for _ in range(8):
        with pytest.raises(OSError, match="No space"):
            await observe.step()
        stream.start_over()
        assert indexed_rows(database) == 0
    await drain(observe)
    assert counted_rows(history, baselines) == 10
    assert producer.redis.xlen(DEAD_LETTERS) == 0


async def test_a_truncated_part_is_said_and_does_not_stop_the_rest(
    observe: Observe, producer: Producer, database: Database, parts: ParquetParts, tmp_path: Path,
    registry: FakeRegistry, history: SqliteHistory, baselines: RegistryBaselines, clock: FakeClock,
    ledger: SqliteLedger,
) -> None:  # fmt: skip
    registry.away = True
    for rows in (10, 20):
        producer.send_rows([rows])
        await drain(observe)
    first = database.reader.execute("SELECT name FROM parts WHERE rows = 10").fetchone()[0]
    path = tmp_path / "events" / first
    path.write_bytes(path.read_bytes()[:100])
    registry.away = False
    clock.advance_us(60_000_000)
    before = metrics.DAMAGED._value.get()
    await observe.recount()
    assert counted_rows(history, baselines) == 20
    assert metrics.DAMAGED._value.get() == before + 1
    assert ledger.unfolded_versions() == []


async def test_a_column_that_a_record_no_longer_has_counts_as_missing(
    observe: Observe, producer: Producer, history: SqliteHistory, baselines: RegistryBaselines
) -> None:
    batch = producer.batch(10)
    del batch.numbers["late_7d"], batch.statuses["late_7d"]
    producer.send(batch)
    producer.send_rows([5])
    await drain(observe)
    layout = baselines.known(MODEL, VERSION).layout
    assert layout is not None
    cell = history.cell(MODEL, VERSION, ["production"], HOUR, HOUR + 1, layout.baseline_sha)
    assert cell is not None
    column = layout.column(cell, "late_7d")
    assert (column.fact("missing"), column.counted) == (10, 5)


async def test_a_clock_that_steps_back_only_makes_older_rows(
    observe: Observe, producer: Producer, history: SqliteHistory, baselines: RegistryBaselines,
    clock: FakeClock,
) -> None:  # fmt: skip
    producer.send(producer.batch(5))
    await drain(observe)
    clock.step_us(-30 * HOUR_US)
    producer.send(producer.batch(5, NOW_US - 30 * HOUR_US))
    await drain(observe)
    assert counted_rows(history, baselines) == 10


async def test_rows_of_a_version_that_nobody_published_are_kept_uncounted(
    observe: Observe, producer: Producer, ledger: SqliteLedger, database: Database
) -> None:
    producer.send(producer.batch(5, model="invented", version="../../etc"))
    await drain(observe)
    assert ledger.unfolded_versions() == [("invented", "../../etc", 5)]
    name = database.reader.execute("SELECT name FROM parts").fetchone()[0]
    assert ".." not in name
    assert indexed_rows(database) == 5


@given(st.integers(1, 10_000), st.floats(0, 60))
def test_the_busier_the_log_the_longer_entries_gather(entries: int, seconds: float) -> None:
    assert LINGER_MIN_S <= linger_s(entries, seconds) <= LINGER_MAX_S
    assert linger_s(entries, seconds) <= linger_s(2 * entries, seconds)
    assert linger_s(entries, seconds) >= linger_s(entries, seconds + 1)


async def test_what_has_gathered_is_read_without_a_pause(
    redis_url: str, ledger: SqliteLedger, parts: ParquetParts, baselines: RegistryBaselines,
    clock: FakeClock, producer: Producer, database: Database,
) -> None:  # fmt: skip
    redis = connect(redis_url, purpose="test", timeout_ms=2_000)
    stream = RedisStream(
        redis, (STREAM,), "m", clock, entries_max=4, block_ms=1, idle_claim_s=60, fill_bytes=5_000
    )
    observe = Observe(
        stream, ledger, parts, baselines, inline, clock,
        future_tolerance_us=HOUR_US, deliveries_max=5,
    )  # fmt: skip
    producer.send_rows([20] * 30)
    began_ns = clock.monotonic_ns()
    async with TaskOwner() as tasks:
        tasks.start("read", observe.run)
        await until(lambda: indexed_rows(database) == 600)
    assert clock.monotonic_ns() - began_ns <= LINGER_MAX_S * 1e9
    await redis.aclose()
    assert database.reader.execute("SELECT count(*) FROM parts").fetchone()[0] > 5
