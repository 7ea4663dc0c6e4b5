"""The applier goes on from where it was, whenever it dies and whatever the store lost."""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from shutil import copytree, rmtree
from typing import Any, cast

import pytest

from feature_store import verify
from feature_store.adapters.engine_numpy import NumpyEngine
from feature_store.adapters.online_memory import MemoryStore
from feature_store.adapters.online_redis import RedisStore
from feature_store.domain import windows
from feature_store.domain.plan import LIFE_FIELD, LOG_FIELD
from feature_store.materialize import LogLost
from feature_store.ports import Fields, Swap
from kit.redis_pipeline import PipelinedRedis, RedisAway
from tests.feature_store.test_parity import KEYS, Push, World, _random_push, same


class Killed(Exception):
    """Stands for kill -9: whatever was under way ends here."""


class DyingStore(MemoryStore):
    """A store whose writer dies before its ``dies_at``-th operation."""

    def __init__(self) -> None:
        super().__init__()
        self.dies_at: int | None = None
        self._operations = 0

    def _one_more(self) -> None:
        self._operations += 1
        if self.dies_at is not None and self._operations >= self.dies_at:
            raise Killed

    async def get(self, wanted: Sequence[tuple[bytes, Sequence[bytes]]]) -> list[Fields]:
        self._one_more()
        return await super().get(wanted)

    async def put(self, values: Sequence[tuple[bytes, Mapping[bytes, bytes]]]) -> None:
        for value in values:
            self._one_more()
            await super().put([value])

    async def put_newer(self, records: Sequence[tuple[bytes, bytes, bytes]]) -> list[int]:
        contended = []
        for place, record in enumerate(records):
            self._one_more()
            contended += [place for _ in await super().put_newer([record])]
        return contended

    async def swap(self, swaps: Sequence[Swap]) -> list[int]:
        lost = []
        for place, one in enumerate(swaps):
            self._one_more()
            lost += [place for _ in await super().swap([one])]
        return lost

    async def set_applied(self, positions: Mapping[str, int]) -> None:
        self._one_more()
        await super().set_applied(positions)


def history(length: int, seed: int = 4) -> list[Push]:
    import random

    chance = random.Random(seed)
    return [_random_push(chance) for _ in range(length)]


async def expect(world: World) -> None:
    now = world.clock.now_us()
    for key, got in zip(KEYS, await world.online(), strict=True):
        same(world.expected(key, now), got)


@pytest.fixture
def tiled() -> Iterator[None]:
    before, windows.INLINE_ROWS_MAX = windows.INLINE_ROWS_MAX, 2
    yield
    windows.INLINE_ROWS_MAX = before


@pytest.mark.usefixtures("tiled")
@pytest.mark.parametrize("cold", [True, False])
async def test_killed_before_any_operation_it_ends_in_the_same_state(
    tmp_path: Path, cold: bool
) -> None:
    for dies_at in range(1, 40, 3):
        store = DyingStore()
        world = World(tmp_path / str(dies_at), store, store, None)
        try:
            if not cold:
                await world.materializer.catch_up()
            for one in history(8):
                await world.push(one)
            store.dies_at = dies_at + (0 if cold else 10)
            with suppress(Killed):
                await world.materializer.catch_up()
            store.dies_at = None
            await world.materializer.catch_up()
            await expect(world)
        finally:
            world.close()


@pytest.mark.usefixtures("tiled")
@pytest.mark.parametrize("dies_at", range(2, 34, 4))
async def test_a_batch_that_is_applied_in_part_is_no_mismatch_and_a_wrong_value_in_it_is_one(
    tmp_path: Path, dies_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify, "SETTLE_S", 0.0)
    store = DyingStore()
    world = World(tmp_path, store, store, None)
    parts = (world.catalogue, world.log.reader, store, world.reader, NumpyEngine(), world.clock)
    verifier = verify.Verifier(*parts, "ll")
    try:
        for one in history(8):
            await world.push(one)
        await world.materializer.catch_up()
        for one in history(12, seed=5):
            await world.push(one)
        store.dies_at = store._operations + dies_at
        with pytest.raises(Killed):
            await world.materializer.catch_up()
        store.dies_at = None
        for view in world.catalogue.views:
            assert (await verifier.audit(view)).mismatches_total == 0
        for fields in store._hashes.values():
            fields.clear()
        found = [await verifier.audit(view) for view in world.catalogue.views]
        assert any(audit.mismatches_total for audit in found)
    finally:
        world.close()


async def test_applying_again_from_an_older_position_changes_nothing(tmp_path: Path) -> None:
    store = MemoryStore()
    world = World(tmp_path, store, store, None)
    try:
        await world.materializer.catch_up()
        for one in history(10):
            await world.push(one)
            await world.materializer.catch_up()
        views = set(await store.applied()) - {LOG_FIELD, LIFE_FIELD}
        before = {f: await store.fields_of(f.encode()[:12]) for f in views}
        older = dict.fromkeys(views, 3)
        await store.set_applied(older)  # as a store says that lost its last second
        await world.materializer.catch_up()
        after = {f: await store.fields_of(f.encode()[:12]) for f in views}
        assert after == before
        await expect(world)
    finally:
        world.close()


@asynccontextmanager
async def redis_world(folder: Path, url: str) -> AsyncIterator[tuple[World, PipelinedRedis]]:
    pipeline = PipelinedRedis(url, timeout_ms=5000)
    await pipeline.start()
    world = World(folder, RedisStore(pipeline), pipeline, None)
    try:
        yield world, pipeline
    finally:
        world.close()
        await pipeline.stop()


async def test_a_wiped_redis_is_filled_from_the_log(tmp_path: Path, redis_url: str) -> None:
    async with redis_world(tmp_path, redis_url) as (world, pipeline):
        await world.materializer.catch_up()
        for one in history(12):
            await world.push(one)
            await world.materializer.catch_up()
        await pipeline.execute("FLUSHALL")
        with pytest.raises(RedisAway):
            await world.online()
        await world.materializer.catch_up()
        await expect(world)


async def test_a_store_filled_from_another_log_is_emptied_first(
    tmp_path: Path, redis_url: str
) -> None:
    async with redis_world(tmp_path / "two", redis_url) as (world, pipeline):
        await world.push(history(2)[1])
        rows = list(world.rows)
        await pipeline.execute("FLUSHALL")
    async with redis_world(tmp_path / "one", redis_url) as (world, _):
        await world.push(history(1)[0])
        await world.materializer.catch_up()
    async with redis_world(tmp_path / "two", redis_url) as (world, _):
        world.rows = rows
        await world.materializer.catch_up()
        await expect(world)


@pytest.mark.parametrize("pushed_since", [0, 2, 9])
@pytest.mark.parametrize("restarts", [0, 1])
async def test_what_is_pushed_to_a_log_restored_from_a_copy_is_served(
    tmp_path: Path, redis_url: str, pushed_since: int, restarts: int
) -> None:
    log, copy = tmp_path / "world" / "log", tmp_path / "copy"
    async with redis_world(tmp_path / "world", redis_url) as (world, _):
        for one in history(5):
            await world.push(one)
        await world.materializer.catch_up()
        copytree(log, copy)
        rows = list(world.rows)
        if not restarts:
            await _push_and_apply(world, history(5, seed=6))
    for _ in range(restarts):  # the rows that get lost were pushed in a later life
        async with redis_world(tmp_path / "world", redis_url) as (world, _):
            await _push_and_apply(world, history(5, seed=6))
    rmtree(log)
    copytree(copy, log)
    async with redis_world(tmp_path / "world", redis_url) as (world, _):
        world.rows = rows
        world.clock.step_us(1_000)
        for one in history(pushed_since, seed=7):
            await world.push(one)
        await world.materializer.catch_up()
        await expect(world)


async def _push_and_apply(world: World, pushes: list[Push]) -> None:
    for one in pushes:
        await world.push(one)
    await world.materializer.catch_up()


async def test_a_log_that_was_only_closed_and_opened_fills_nothing_again(
    tmp_path: Path, redis_url: str
) -> None:
    for _ in range(3):
        async with redis_world(tmp_path, redis_url) as (world, pipeline):
            await world.materializer.catch_up()
            await world.push(history(1)[0])
            await world.materializer.catch_up()
            await pipeline.execute("SETNX", "ll:fs:{witness}", "")
    async with redis_world(tmp_path, redis_url) as (world, pipeline):
        await world.materializer.catch_up()
        assert await pipeline.execute("EXISTS", "ll:fs:{witness}") == 1


async def test_a_log_that_was_opened_empty_empties_no_store_until_somebody_says_so(
    tmp_path: Path, redis_url: str
) -> None:
    async with redis_world(tmp_path / "mounted", redis_url) as (world, pipeline):
        await _push_and_apply(world, history(5))
        kept = await pipeline.execute("DBSIZE")
    async with redis_world(tmp_path / "not mounted", redis_url) as (world, pipeline):
        for _ in range(2):
            with pytest.raises(LogLost):
                await world.materializer.catch_up()
            assert world.materializer.log_lost
            assert await pipeline.execute("DBSIZE") == kept
            await world.push(history(1)[0])  # as one that came before the first look
        world.materializer.start_over()
        await world.materializer.catch_up()
        assert not world.materializer.log_lost
        await expect(world)


async def test_a_store_whose_emptying_was_killed_is_emptied_to_the_end(
    tmp_path: Path, redis_url: str
) -> None:
    async with redis_world(tmp_path, redis_url) as (world, pipeline):
        await _push_and_apply(world, history(5))
        store = RedisStore(cast("PipelinedRedis", _Dying(pipeline, "UNLINK")))
        with pytest.raises(Killed):
            await store.wipe()
        with pytest.raises(RedisAway):  # and not a null
            await world.online()
        await pipeline.execute("HSET", "ll:fs:{left over}", "x", "y")
        await world.materializer.catch_up()
        assert await pipeline.execute("EXISTS", "ll:fs:{left over}") == 0
        await expect(world)


class _Dying:
    """A connection whose process is killed at the first command of that name."""

    def __init__(self, pipeline: PipelinedRedis, name: str) -> None:
        self._pipeline = pipeline
        self._name = name

    async def execute_many(self, commands: Sequence[Sequence[bytes | str | int]]) -> list[Any]:
        if any(command[0] == self._name for command in commands):
            raise Killed
        return await self._pipeline.execute_many(commands)


async def test_starting_over_frees_what_only_emptied_windows_took(
    tmp_path: Path, redis_url: str
) -> None:
    async with redis_world(tmp_path, redis_url) as (world, pipeline):
        await world.materializer.catch_up()
        for one in history(12):
            await world.push(one)
            await world.materializer.catch_up()
        world.clock.advance_us(40 * 86_400_000_000)  # no window holds a row any more

        async def fields() -> int:
            keys = await pipeline.execute("KEYS", "ll:fs:{*")
            return sum([await pipeline.execute("HLEN", key) for key in keys])

        before = await fields()
        world.materializer.start_over()
        assert set(world.materializer.applied_by_view().values()) == {0}
        await world.materializer.catch_up()
        assert await fields() < before
        assert min(world.materializer.applied_by_view().values()) == len(world.rows)
        await expect(world)
