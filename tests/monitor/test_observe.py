"""What was produced, what was stored and what was counted must agree."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.manifest import Manifest
from contracts.served import GROUP, STREAM
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
from monitor.observe import LINGER_MAX_S, LINGER_MIN_S, Observe, linger_s
from tests.monitor.counting import HOUR, counted_rows, drain, indexed_rows, stored_rows
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
