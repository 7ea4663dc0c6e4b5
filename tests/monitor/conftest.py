"""Parts of the monitor over a real stream and a real disk."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from kit.clock import FakeClock
from kit.redis import connect
from monitor.adapters.baselines_registry import RegistryBaselines
from monitor.adapters.database_sqlite import Database
from monitor.adapters.history_sqlite import SqliteHistory
from monitor.adapters.ledger_sqlite import SqliteLedger
from monitor.adapters.parts_parquet import ParquetParts
from monitor.adapters.stream_redis import RedisStream
from monitor.observe import Observe
from tests.monitor.office import Office, make_office
from tests.monitor.world import NOW_US, FakeRegistry, Producer, baselines_of, inline


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOW_US + 1_000_000)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(tmp_path / "monitor.sqlite")
    database.open()
    yield database
    database.close()


@pytest.fixture
def registry() -> FakeRegistry:
    return FakeRegistry()


@pytest.fixture
def baselines(registry: FakeRegistry, tmp_path: Path, clock: FakeClock) -> RegistryBaselines:
    return baselines_of(registry, tmp_path / "baselines", clock)


@pytest.fixture
def ledger(database: Database) -> SqliteLedger:
    return SqliteLedger(database, 1_000_000)


@pytest.fixture
def history(database: Database) -> SqliteHistory:
    return SqliteHistory(database)


@pytest.fixture
def parts(tmp_path: Path) -> ParquetParts:
    return ParquetParts(tmp_path / "events")


@pytest.fixture
def producer(redis_url: str) -> Iterator[Producer]:
    producer = Producer(redis_url)
    yield producer
    producer.redis.close()


@pytest.fixture
async def stream(redis_url: str, clock: FakeClock) -> AsyncIterator[RedisStream]:
    redis = connect(redis_url, purpose="test", timeout_ms=2_000)
    yield RedisStream(
        redis, ("ll:served",), "monitor-0", clock, entries_max=100, block_ms=1, idle_claim_s=60
    )
    await redis.aclose()


@pytest.fixture
def observe(
    stream: RedisStream, ledger: SqliteLedger, parts: ParquetParts,
    baselines: RegistryBaselines, clock: FakeClock,
) -> Observe:  # fmt: skip
    return Observe(
        stream, ledger, parts, baselines, inline, clock,
        future_tolerance_us=3_600_000_000, deliveries_max=5,
    )  # fmt: skip


@pytest.fixture
def office(
    observe: Observe, database: Database, history: SqliteHistory, baselines: RegistryBaselines,
    stream: RedisStream, clock: FakeClock, producer: Producer, parts: ParquetParts,
) -> Office:  # fmt: skip
    return make_office(observe, database, history, baselines, stream, clock, producer, parts)
