"""The served log: read in even portions, from its beginning, by whoever lives, and cut."""

import pytest

from contracts.served import GROUP, STREAM
from kit.clock import FakeClock
from kit.redis import connect
from monitor.adapters.baselines_registry import RegistryBaselines
from monitor.adapters.history_sqlite import SqliteHistory
from monitor.adapters.stream_redis import RedisStream
from monitor.observe import Observe
from monitor.ports import Entry
from tests.monitor.counting import counted_rows, drain
from tests.monitor.world import Producer


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
