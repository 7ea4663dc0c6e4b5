from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.adapters.leases_redis import LeasesRedis
from gateway.domain.gcra import Policy, lease
from gateway.ports import StoreAway
from kit.redis_pipeline import PipelinedRedis


@pytest.fixture
async def connection(redis_url: str) -> AsyncIterator[PipelinedRedis]:
    pipelined = PipelinedRedis(redis_url, timeout_ms=1000)
    await pipelined.start()
    yield pipelined
    await pipelined.stop()


@settings(
    max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(
    st.integers(1, 1000),
    st.integers(1, 60),
    st.lists(st.tuples(st.integers(1, 300), st.integers(0, 300)), min_size=1, max_size=20),
)
async def test_the_script_and_the_algorithm_agree(
    redis_url: str, quota: int, window_s: int, steps: list[tuple[int, int]]
) -> None:
    name = uuid4().hex  # another bucket for each example
    pipelined = PipelinedRedis(redis_url, timeout_ms=1000)
    await pipelined.start()
    try:
        store, policy, tat_us = LeasesRedis(pipelined), Policy(quota, window_s), 0
        for least, more in steps:
            got = await store.lease(name, policy, least + more, least)
            expected = lease(policy, tat_us, got.tat_us, least + more, least)  # the server's now
            assert (got.rows, got.remaining_rows) == (expected.rows, expected.remaining_rows)
            assert got.retry_us == expected.retry_us
            tat_us = expected.tat_us
    finally:
        await pipelined.stop()


async def test_a_refund_makes_room_at_once(connection: PipelinedRedis) -> None:
    store, policy = LeasesRedis(connection), Policy(10, 60)
    assert (await store.lease("ann", policy, 10, 10)).rows == 10
    assert (await store.lease("ann", policy, 1, 1)).rows == 0
    await store.refund("ann", policy, 4)
    assert (await store.lease("ann", policy, 10, 1)).rows == 4


async def test_several_limits_are_all_spent_or_none(connection: PipelinedRedis) -> None:
    store = LeasesRedis(connection, platform=Policy(15, 60))
    policy = Policy(10, 60)
    assert (await store.lease("ann", policy, 10, 10)).rows == 10
    refused = await store.lease("bob", policy, 10, 10)
    assert refused.rows == 0
    assert refused.retry_us > 0
    assert (await store.lease("bob", policy, 10, 5)).rows == 5


async def test_a_clock_that_is_set_back_costs_one_window_at_most(
    connection: PipelinedRedis, redis_url: str
) -> None:
    store, policy = LeasesRedis(connection), Policy(10, 60)
    spent = await store.lease("ann", policy, 10, 10)
    with redis.Redis.from_url(redis_url) as client:  # as if the server were an hour younger now
        client.set("ll:limit:ann", str(spent.tat_us + 3_660_000_000))
    assert (await store.lease("ann", policy, 1, 1)).retry_us == 6_000_000
    await store.refund("ann", policy, 4)
    assert (await store.lease("ann", policy, 10, 1)).rows == 4


async def test_a_forgotten_script_is_sent_again(connection: PipelinedRedis, redis_url: str) -> None:
    store, policy = LeasesRedis(connection), Policy(10, 60)
    await store.lease("ann", policy, 1, 1)
    with redis.Redis.from_url(redis_url) as client:
        client.script_flush()
    assert (await store.lease("ann", policy, 1, 1)).remaining_rows == 8


async def test_an_absent_server_is_away_at_once(tmp_path: object) -> None:
    pipelined = PipelinedRedis(f"unix://{tmp_path}/none.sock", timeout_ms=20)
    await pipelined.start()
    with pytest.raises(StoreAway):
        await LeasesRedis(pipelined).lease("ann", Policy(1, 1), 1, 1)
    await pipelined.stop()


async def test_limits_leave_nothing_behind(connection: PipelinedRedis, redis_url: str) -> None:
    await LeasesRedis(connection).lease("ann", Policy(10, 60), 1, 1)
    with redis.Redis.from_url(redis_url) as client:
        assert 0 < client.pttl("ll:limit:ann") <= 6002
