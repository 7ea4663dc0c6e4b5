"""A store without memory left refuses writes: what is known is served, what is pushed is kept."""

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import redis.asyncio

from feature_store.adapters.memory_redis import Memory, memory_in
from kit.clock import FakeClock
from kit.telemetry import REGISTRY
from tests.feature_store.over_http import arrival, ask, push, serving
from tests.polling import until


@asynccontextmanager
async def small(redis_url: str, room_bytes: int) -> AsyncIterator[redis.asyncio.Redis]:
    """The store may grow by so much and no more."""
    async with redis.asyncio.from_url(redis_url) as raw:
        used = (await raw.info("memory"))["used_memory"]
        await raw.config_set("maxmemory", str(max(1, used + room_bytes)))
        await raw.config_resetstat()
        try:
            yield raw
        finally:
            await raw.config_set("maxmemory", "0")


async def not_behind(client: httpx.AsyncClient) -> bool:
    views = (await client.get("/v1/features/freshness")).json()["views"]
    return all(view["behind"] == 0 for view in views.values())


def exported(name: str) -> float:
    value = REGISTRY.get_sample_value(name)
    assert value is not None
    return value


async def test_the_memory_that_is_exported_is_what_the_store_says(
    tmp_path: Path, redis_url: str, clock: FakeClock
) -> None:
    async with small(redis_url, 32 << 20) as raw, serving(tmp_path, redis_url, clock):
        limit = float(str((await raw.config_get("maxmemory"))["maxmemory"]))
        await until(lambda: exported("store_memory_limit_bytes") == limit)
        used = (await raw.info("memory"))["used_memory"]
        assert exported("store_memory_used_bytes") == pytest.approx(used, rel=0.2)


def info(**fields: int) -> bytes:
    lines = [f"{name}:{value}" for name, value in fields.items()]
    return "\r\n".join(["# Memory", "used_memory_human:1.0M", *lines]).encode()


HELD = {"used_memory": 300, "used_memory_rss": 500, "mem_not_counted_for_evict": 20}


@pytest.mark.parametrize(
    ("said", "memory"),
    [
        ({"maxmemory": 400, "total_system_memory": 1000}, Memory(280, 400)),
        ({"maxmemory": 0, "total_system_memory": 1000}, Memory(500, 1000)),
        ({"maxmemory": 4000, "total_system_memory": 1000}, Memory(500, 1000)),
        ({"maxmemory": 400}, Memory(280, 400)),
    ],
)
def test_the_smaller_of_maxmemory_and_the_machine_is_the_limit(
    said: dict[str, int], memory: Memory
) -> None:
    assert memory_in(info(**HELD, **said)) == memory


def test_a_store_that_names_no_limit_has_none_that_could_be_near() -> None:
    assert math.isnan(memory_in(info(**HELD)).limit_bytes)


async def test_a_full_store_serves_what_it_has_and_what_is_pushed_comes_once_it_has_room(
    tmp_path: Path, redis_url: str, clock: FakeClock
) -> None:
    async with serving(tmp_path, redis_url, clock, applied_wait_s=0.05) as client:
        first = await push(client, arrival(30))
        await until(lambda: not_behind(client))
        assert first["accepted"] == 1
        async with small(redis_url, -500_000):
            late = await push(client, arrival(20))
            assert (late["accepted"], late["applied"]) == (1, False)
            assert (await ask(client, "late_1h:flights"))["late_1h:flights"] == 1
            assert (await client.get("/readyz")).status_code == 200
        await until(lambda: not_behind(client))
        assert (await ask(client, "late_1h:flights"))["late_1h:flights"] == 2


async def test_a_store_that_is_full_from_the_start_is_told_from_one_that_is_being_filled(
    tmp_path: Path, redis_url: str, clock: FakeClock
) -> None:
    async with small(redis_url, -500_000), serving(tmp_path, redis_url, clock) as client:

        async def said() -> bool:
            answer = await client.get("/readyz")
            return answer.status_code == 503 and "no memory left" in answer.text

        await until(said)


async def test_keys_of_the_log_that_were_applied_before_the_store_was_full_are_no_mismatch(
    tmp_path: Path, redis_url: str, clock: FakeClock
) -> None:
    """``test_materialize`` stops the applier at each of its steps; here it is the server."""
    carriers = [f"C{number:05}" for number in range(2_000)]
    async with serving(tmp_path, redis_url, clock, applied_wait_s=0.05) as client:
        await push(client, *(arrival(30, carrier=one) for one in carriers))
        await until(lambda: not_behind(client))
        async with small(redis_url, 50_000) as raw:
            await push(client, *(arrival(20, carrier=one, delay=1) for one in carriers))
            await until(lambda: refused(raw))
            for view in ("late_1h", "last_arrival", "today"):
                assert await mismatches(client, view) == 0
        await until(lambda: not_behind(client))


async def refused(raw: redis.asyncio.Redis) -> bool:
    return "errorstat_OOM" in await raw.info("errorstats")


async def mismatches(client: httpx.AsyncClient, view: str) -> int:
    answer = await client.get("/v1/features/consistency", params={"view": view})
    return int(answer.json()["mismatches_total"])
