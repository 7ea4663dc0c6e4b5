"""Answers in Redis: used where the model is slower than the trip, missed without harm."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from math import exp
from typing import Any
from unittest.mock import ANY

import numpy as np
import pytest

from inference.adapters.remembered import RememberedAnswers
from inference.domain.costs import RunCosts
from inference.domain.fleet import LoadedVersion
from kit.redis_pipeline import PipelinedRedis
from tests.inference.parts import House, logistic_model

FAR = np.iinfo(np.int64).max


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[PipelinedRedis]:
    connection = PipelinedRedis(redis_url, timeout_ms=2_000)
    await connection.start()
    yield connection
    await connection.stop()


class Known(RunCosts):
    """What runs cost, whatever this machine takes for them."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        super().learn(1, seconds)

    def learn(self, rows: int, seconds: float) -> None:
        """Nothing: it is known."""


def taking(loaded: LoadedVersion, seconds: float) -> LoadedVersion:
    """The same version, known to take so long for a row."""
    loaded.engine.costs = Known(seconds)  # type: ignore[attr-defined]  # of the real engine
    return loaded


slow = partial(taking, seconds=0.01)
fast = partial(taking, seconds=0.0001)


def rows_of(*values: float) -> dict[str, Any]:
    return {"input": np.array([[value] * 10 for value in values], np.float32)}


async def ask(cache: RememberedAnswers, loaded: LoadedVersion, *values: float) -> Any:
    computed, cached = await cache.compute(loaded, rows_of(*values), np.full(len(values), FAR))
    return computed.outputs[0][:, 1].tolist(), cached.tolist()


async def test_another_replica_reads_what_one_computed(house: House, redis: PipelinedRedis) -> None:
    loaded = slow(house.load("2", logistic_model([0.1] * 10), cache_ttl_s=60.0))
    one, other = (RememberedAnswers(redis, house.clock, 1 << 20) for _ in range(2))
    first = await ask(one, loaded, 1.0, 2.0)
    assert first[1] == [False, False]
    second = await ask(other, slow(loaded), 2.0, 1.0, 3.0)
    assert second[1] == [True, True, False]
    assert second[0][:2] == first[0][::-1]


@pytest.mark.parametrize(
    "malformed",
    [b"", b"x", b"short", bytes(8), bytes(16), bytes(20), bytes(4096), b"\xff" * 16],
)
async def test_what_is_no_answer_is_missed_and_overwritten(
    house: House, redis: PipelinedRedis, malformed: bytes
) -> None:
    loaded = slow(house.load("2", logistic_model([0.1] * 10), cache_ttl_s=60.0))
    one, other, third = (RememberedAnswers(redis, house.clock, 1 << 20) for _ in range(3))
    right, _ = await ask(one, loaded, 1.0)
    (name,) = await redis.execute("KEYS", "ll:answers:*")
    await redis.execute("SET", name, malformed)
    assert await ask(other, slow(loaded), 1.0, 2.0) == ([*right, ANY], [False, False])
    assert await ask(third, slow(loaded), 1.0) == (right, [True])


async def test_a_fast_model_makes_no_trip(house: House, redis: PipelinedRedis) -> None:
    loaded = fast(house.load("2", logistic_model([0.1] * 10), cache_ttl_s=60.0))
    await ask(RememberedAnswers(redis, house.clock, 1 << 20), loaded, 1.0)
    assert await redis.execute("KEYS", "ll:answers:*") == []


async def test_a_cache_that_is_away_costs_only_its_use(house: House) -> None:
    loaded = slow(house.load("2", logistic_model([0.1] * 10), cache_ttl_s=60.0))
    away = PipelinedRedis("unix:///nowhere", timeout_ms=20)
    cache = RememberedAnswers(away, house.clock, 1 << 20)
    answers, cached = await ask(cache, loaded, 1.0)
    assert answers == [pytest.approx(1 / (1 + exp(-1.0)), abs=1e-6)]
    assert cached == [False]
    assert await ask(cache, loaded, 1.0) == (answers, [True])


@pytest.mark.parametrize("first_leaves", [True, False])
async def test_a_caller_that_leaves_takes_nobodys_answer_along(
    house: House, first_leaves: bool
) -> None:
    house.inline_us_max = 0
    loaded = house.load("2", logistic_model([0.1] * 10), cache_ttl_s=60.0)
    cache = RememberedAnswers(house.redis, house.clock, 1 << 20)
    two = [asyncio.ensure_future(ask(cache, loaded, 1.0)) for _ in range(2)]
    leaving, staying = two if first_leaves else reversed(two)
    await asyncio.sleep(0)
    leaving.cancel()
    answers, _ = await staying
    assert answers == [pytest.approx(1 / (1 + exp(-1.0)), abs=1e-6)]
    with pytest.raises(asyncio.CancelledError):
        await leaving


@pytest.mark.parametrize("late", [0, 1])
async def test_who_shares_a_row_with_one_whose_deadline_has_passed_gets_its_answer(
    house: House, late: int
) -> None:
    loaded = house.load("2", logistic_model([0.1] * 10), cache_ttl_s=60.0)
    cache = RememberedAnswers(house.redis, house.clock, 1 << 20)
    deadlines_ns = np.full(2, FAR)
    deadlines_ns[late] = 1
    computed, _ = await cache.compute(loaded, rows_of(1.0, 1.0), deadlines_ns)
    assert computed.outcome[1 - late] == 0
    assert computed.outputs[0][1 - late, 1] == pytest.approx(1 / (1 + exp(-1.0)), abs=1e-6)
