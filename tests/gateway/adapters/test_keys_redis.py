import stat
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import redis

from gateway.adapters.keys_redis import KeysRedis
from gateway.domain.keys import KeyRecord, dump_keys, load_keys, mint_key
from gateway.ports import StoreAway
from kit.clock import FakeClock
from kit.redis_pipeline import PipelinedRedis

PEPPER = b"p" * 32


def record(principal: str = "ann") -> KeyRecord:
    return mint_key("test", principal, ["predict"], pepper=PEPPER, now_us=1)[1]


@pytest.fixture
async def connection(redis_url: str) -> AsyncIterator[PipelinedRedis]:
    pipelined = PipelinedRedis(redis_url, timeout_ms=1000)
    await pipelined.start()
    yield pipelined
    await pipelined.stop()


def ring(connection: PipelinedRedis, folder: Path, name: str = "keys.json") -> KeysRedis:
    return KeysRedis(connection, folder / name, PEPPER, FakeClock())


async def test_a_new_and_a_revoked_key_reach_every_gateway(
    connection: PipelinedRedis, tmp_path: Path
) -> None:
    one, two = ring(connection, tmp_path, "1.json"), ring(connection, tmp_path, "2.json")
    await one.poll()
    await two.poll()
    made = record()
    await one.put(made)
    await two.poll()
    assert two.get(made.id) == made
    await two.put(replace(made, revoked_us=5))
    await one.poll()
    found = one.get(made.id)
    assert found is not None
    assert found.revoked_us == 5
    assert load_keys((tmp_path / "1.json").read_bytes())[0].revoked_us == 5


async def test_an_unchanged_record_stays_the_same_object(
    connection: PipelinedRedis, tmp_path: Path
) -> None:
    one = ring(connection, tmp_path)
    await one.put(made := record())
    known = one.get(made.id)
    await one.put(record("bob"))
    await one.poll()
    assert one.get(made.id) is known


async def test_the_snapshot_is_private_and_enough_to_start_from(
    connection: PipelinedRedis, tmp_path: Path
) -> None:
    await ring(connection, tmp_path).put(made := record())
    file = tmp_path / "keys.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    away = PipelinedRedis(f"unix://{tmp_path}/none.sock", timeout_ms=20)
    alone = ring(away, tmp_path)
    alone.load_snapshot()
    await alone.poll()
    assert alone.get(made.id) == made
    with pytest.raises(StoreAway):
        await alone.put(record("bob"))
    assert len(alone.all()) == 1


async def test_a_flushed_store_is_filled_again(
    connection: PipelinedRedis, tmp_path: Path, redis_url: str
) -> None:
    one = ring(connection, tmp_path)
    await one.put(made := record())
    await one.poll()
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
    await one.poll()
    other = ring(connection, tmp_path, "other.json")
    await other.poll()
    assert other.get(made.id) == made


async def test_keys_made_at_the_first_start_are_shared(
    connection: PipelinedRedis, tmp_path: Path
) -> None:
    made = record()
    (tmp_path / "keys.json").write_bytes(dump_keys([made]))
    first = ring(connection, tmp_path)
    first.load_snapshot()
    await first.poll()
    second = ring(connection, tmp_path, "second.json")
    await second.poll()
    assert second.get(made.id) == made


async def test_a_revocation_is_not_undone_by_an_old_copy(
    connection: PipelinedRedis, tmp_path: Path
) -> None:
    one = ring(connection, tmp_path, "1.json")
    await one.put(made := record())
    (tmp_path / "old.json").write_bytes(dump_keys([made]))
    await one.put(replace(made, revoked_us=5))
    late = ring(connection, tmp_path, "old.json")
    late.load_snapshot()
    await late.poll()
    await one.poll()
    for each in (late, one):
        found = each.get(made.id)
        assert found is not None
        assert found.revoked_us == 5


async def test_a_key_can_be_made_and_revoked_in_a_store_that_is_full(
    connection: PipelinedRedis, tmp_path: Path, redis_url: str
) -> None:
    one, two = ring(connection, tmp_path, "1.json"), ring(connection, tmp_path, "2.json")
    await one.put(old := record())
    await two.poll()
    with redis.Redis.from_url(redis_url) as full:
        full.config_set("maxmemory", "1")
        try:
            with pytest.raises(redis.OutOfMemoryError):
                full.set("x", "y")
            await one.put(replace(old, revoked_us=5))
            await one.put(new := record("bob"))
        finally:
            full.config_set("maxmemory", "0")
    await two.poll()
    known = two.get(old.id)
    assert known is not None
    assert known.revoked_us == 5
    assert two.get(new.id) == new


async def test_any_number_of_keys_is_brought_to_a_store_that_was_flushed(
    connection: PipelinedRedis, tmp_path: Path
) -> None:
    first = record()
    many = [replace(first, id=f"{number:08}") for number in range(9_000)]
    (tmp_path / "keys.json").write_bytes(dump_keys(many))
    one = ring(connection, tmp_path)
    one.load_snapshot()
    await one.poll()
    other = ring(connection, tmp_path, "other.json")
    await other.poll()
    assert len(other.all()) == 9_000


async def test_an_unreadable_record_is_passed_over(
    connection: PipelinedRedis, tmp_path: Path, redis_url: str
) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.hset("ll:keys", "x", "garbage")
    one = ring(connection, tmp_path)
    await one.put(made := record())
    await one.poll()
    assert one.all() == (made,)


async def test_a_revocation_after_redis_was_restored_from_a_copy_reaches_every_gateway(
    connection: PipelinedRedis, tmp_path: Path, redis_url: str
) -> None:
    one, two = ring(connection, tmp_path, "1.json"), ring(connection, tmp_path, "2.json")
    await one.put(made := record())
    with redis.Redis.from_url(redis_url) as store:
        copy = {key: store.dump(key) for key in ("ll:keys", "ll:keys:epoch")}
        await one.put(record("bob"))
        await two.poll()
        for key, dumped in copy.items():
            store.restore(key, 0, dumped, replace=True)
    await one.put(replace(made, revoked_us=5))  # as many changes as the second gateway has seen
    await two.poll()
    found = two.get(made.id)
    assert found is not None
    assert found.revoked_us == 5
