"""What inference served is judged by the log: integrity and freshness apart, never by guess."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import redis.asyncio
from hypothesis import HealthCheck, given, settings

from contracts.served import STATUSES, STREAM, ServedBatch, decode_served, encode_served
from feature_store.adapters.log_parquet import ParquetLog
from feature_store.adapters.online_memory import MemoryStore
from feature_store.adapters.served_redis import ENTRIES_PER_READ, READS_MAX, RedisServedLog
from feature_store.domain.parity import Served, served_rows
from feature_store.replay import OtherDefinitions, Replayer
from kit.clock import FakeClock
from kit.redis_pipeline import PipelinedRedis
from kit.telemetry import REGISTRY
from tests.feature_store import flights
from tests.feature_store.over_http import arrival, push, serving
from tests.feature_store.test_parity import KEYS, REFS, THING, Push, World, histories
from tests.polling import until

REPLAYED = {"late_1h:mean": "mean", "profile:name": "name", "last_arrival:delay": "delay"}


class NothingServed:
    """A served log without records."""

    async def read(self) -> list[bytes]:
        return []

    async def done(self) -> None: ...

    async def lag_s(self) -> float:
        return 0.0


async def served_now(world: World) -> list[Served]:
    """What inference would write of every key, now."""
    rows = [dict(zip(THING.keys, key, strict=True)) for key in KEYS]
    found = await world.reader.look_up(world.plan, rows, world.clock.now_us())
    columns = {ref: found.columns[ref] for ref in REFS}
    return [
        Served(
            keys=row,
            at_us=found.now_us,
            applied_seq=found.applied_seq,
            values={ref: column.values[place] for ref, column in columns.items()},
            statuses={ref: int(column.status[place]) for ref, column in columns.items()},
        )
        for place, row in enumerate(rows)
    ]


async def behind_and_later(history: Sequence[Push], lag_us: int | None) -> None:
    memory = MemoryStore()
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder), memory, memory, lag_us)
        replayer = Replayer(world.catalogue, world.log.reader, NothingServed(), world.clock)
        await world.materializer.catch_up()
        samples: list[Served] = []
        for place, one in enumerate(history):
            await world.push(one)
            samples += await served_now(world)  # the store is a row behind
            if place % 2:
                await world.materializer.catch_up()
                fresh = await served_now(world)
                for verdict in await replayer.judge(fresh):
                    assert set(verdict.values()) == {"match"}
                samples += fresh
        for verdict in await replayer.judge(samples):
            assert set(verdict) == set(REFS)
            assert "mismatch" not in verdict.values()
        ahead = [replace(one, applied_seq=0) for one in samples]  # written before its position was
        assert all("mismatch" not in v.values() for v in await replayer.judge(ahead))
        forged = replace(samples[-4], values={"now:s": "never"}, statuses={"now:s": 0})
        assert await replayer.judge([forged]) == [{"now:s": "mismatch"}]
        world.close()


@pytest.mark.parametrize("lag_us", [None, 0, 3_000_000])
def test_what_the_store_answered_is_never_called_a_mismatch(lag_us: int | None) -> None:
    @settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
    @given(history=histories)
    def holds(history: list[Push]) -> None:
        asyncio.run(behind_and_later(history, lag_us))

    holds()


def record(rows: Sequence[tuple[Any, Any, Any]], **lineage: Any) -> bytes:
    """A served record of (mean, name, delay) a row, sampled at its first row."""
    n = len(rows)
    statuses = [[STATUSES.index("NOT_FOUND") if v is None else 0 for v in row] for row in rows]
    sampled = {"row": 0, "service": None, "refs": {n: ref for ref, n in REPLAYED.items()}}
    batch = ServedBatch(
        model="delay", version="1", variant="production", epoch=1, rollout_id=None, step=0, arm="",
        units=("u",) * n,
        event_us=np.zeros(n, np.int64),
        request_id=np.zeros(n, "V16"),
        row=np.zeros(n, np.uint16),
        latency_us=np.zeros(n, np.uint32),
        outcome=np.zeros(n, np.uint8),
        flags=np.zeros(n, np.uint8),
        predicted=np.zeros(n, np.int32),
        score=np.zeros(n),
        confidence=np.zeros(n),
        propensity=np.ones(n, np.float32),
        numbers={
            "mean": np.array([np.nan if r[0] is None else r[0] for r in rows]),
            "delay": np.array([np.nan if r[2] is None else r[2] for r in rows]),
        },
        strings={"name": tuple(r[1] for r in rows)},
        statuses={
            name: np.array([row[place] for row in statuses], np.uint8)
            for place, name in enumerate(("mean", "name", "delay"))
        },
        lineage=({**sampled, **lineage},) if lineage else (),
    )  # fmt: skip
    return encode_served(batch)


@pytest.fixture
async def client(
    tmp_path: Path, redis_url: str, clock: FakeClock
) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(tmp_path, redis_url, clock, replay_every_s=0.05) as found:
        yield found


@pytest.fixture
async def stream(redis_url: str) -> AsyncIterator[Any]:
    async with redis.asyncio.from_url(redis_url) as raw:
        yield raw


async def replayed(client: httpx.AsyncClient, rows: int) -> dict[str, Any]:
    """What the service says once it has judged that many rows."""

    async def told() -> dict[str, Any]:
        found = (await client.get("/v1/features/consistency")).json()["served"]
        assert isinstance(found, dict)
        return found

    async def enough() -> bool:
        return bool((await told())["rows"] >= rows)

    await until(enough)
    return await told()


def counted(view: str, verdict: str) -> float:
    labels = {"view": view, "class": verdict}
    return REGISTRY.get_sample_value("feature_parity_total", labels) or 0.0


async def test_served_rows_in_the_stream_are_judged_and_counted(
    client: httpx.AsyncClient, stream: Any, clock: FakeClock
) -> None:
    first = await push(client, arrival(30, delay=10))
    last = await push(client, arrival(20, delay=30))
    about = {
        "keys": {"carrier": "UA", "number": 7},
        "now_us": clock.now_us(),
        "watermark": last["last_seq"],
    }
    behind = {**about, "watermark": first["last_seq"]}
    before = {one: counted("late_1h", one) for one in ("match", "stale", "mismatch")}
    for number, data in enumerate(
        [
            record([(20.0, None, 30), (0.0, "x", 0)], **about),
            record([(10.0, None, 10)], **behind),
            record([(10.0, None, 30)], **about),
            record([(99.0, "x", 1)]),  # not sampled
            b"no record at all",
            record([(1.0, "x", 1)], **{**about, "now_us": 1 << 62}),
            record([(1.0, "x", 1)], **{**about, "keys": {"carrier": ["UA"], "number": 7}}),
        ]
    ):
        await stream.xadd(STREAM, {"p": "r", "s": number, "d": data})
    found = await replayed(client, 3)
    assert (found["values_match"], found["values_stale"], found["values_mismatch"]) == (6, 2, 1)
    assert [one["ref"] for one in found["mismatches"]] == ["late_1h:mean"]
    assert found["mismatches"][0]["served"] == 10.0
    assert found["lag_s"] == 0.0
    after = {one: counted("late_1h", one) for one in before}
    assert after["mismatch"] - before["mismatch"] == 1
    assert after["stale"] - before["stale"] == 1


async def test_a_restart_goes_on_where_the_replay_stood(
    tmp_path: Path, redis_url: str, clock: FakeClock, stream: Any
) -> None:
    about = {"keys": {"carrier": "UA", "number": 7}, "now_us": clock.now_us(), "watermark": 0}
    async with serving(tmp_path, redis_url, clock, replay_every_s=0.05) as client:
        await stream.xadd(STREAM, {"p": "r", "s": 1, "d": record([(None, None, None)], **about)})
        await replayed(client, 1)
    async with serving(tmp_path, redis_url, clock, replay_every_s=0.05) as client:
        await stream.xadd(STREAM, {"p": "r", "s": 2, "d": record([(None, None, None)], **about)})
        assert (await replayed(client, 1))["rows"] == 1
    assert await stream.xinfo_groups(STREAM) == []  # nobody waits for the replay to cut the log


async def test_rows_served_by_other_definitions_are_not_judged(tmp_path: Path) -> None:
    catalogue = flights.catalogue()
    replayer = Replayer(catalogue, ParquetLog(tmp_path), NothingServed(), FakeClock(0))
    known = catalogue.compile("model")
    row = Served({"carrier": "UA"}, 0, 0, {"late_1h:mean": 1.0}, {}, "model", known.fingerprint)
    for other in (
        replace(row, fingerprint="0" * 64),
        replace(row, service="gone"),
        replace(row, service=None, values={"gone:x": 1.0}),
    ):
        with pytest.raises(OtherDefinitions):
            await replayer.judge([other])


async def test_a_turn_is_bounded_and_the_rest_is_a_lag(redis_url: str, stream: Any) -> None:
    plain = record([(1.0, "x", 1)])
    async with stream.pipeline(transaction=False) as pipe:
        for number in range(ENTRIES_PER_READ * READS_MAX + 1):
            pipe.xadd(STREAM, {"p": "r", "s": number, "d": plain}, id=f"{1_000 + number}-0")
        await pipe.execute()
    pipeline = PipelinedRedis(redis_url, timeout_ms=5000)
    await pipeline.start()
    log = RedisServedLog(pipeline, (STREAM,), "ll")
    assert await log.read() == []
    assert await log.lag_s() == pytest.approx(0.001)
    assert await log.read() == []
    assert await log.lag_s() == 0.0
    await pipeline.stop()


def test_a_value_that_nobody_read_is_not_judged() -> None:
    data = decode_served(record([(1.0, None, 2)], keys={}, now_us=0, watermark=0, service=None))
    away = {**data.statuses, "mean": np.array([STATUSES.index("UNAVAILABLE")], np.uint8)}
    [row] = served_rows(replace(data, statuses=away))
    assert set(row.values) == {"profile:name", "last_arrival:delay"}
