"""What cannot be read, applied, written or found again harms nothing else."""

import errno
from collections.abc import Sequence
from pathlib import Path

import pytest

from contracts.served import DEAD_LETTERS, GROUP, STREAM
from kit.clock import FakeClock
from monitor import metrics
from monitor.adapters.baselines_registry import RegistryBaselines
from monitor.adapters.database_sqlite import Database
from monitor.adapters.history_sqlite import SqliteHistory
from monitor.adapters.ledger_sqlite import SqliteLedger
from monitor.adapters.parts_parquet import ParquetParts
from monitor.adapters.stream_redis import RedisStream
from monitor.domain.rows import Rows
from monitor.observe import Observe
from monitor.ports import Part
from tests.monitor.counting import counted_rows, drain, indexed_rows
from tests.monitor.world import HOUR_US, FakeRegistry, Producer, inline


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
