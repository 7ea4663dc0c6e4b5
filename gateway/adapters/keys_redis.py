"""The API keys: in memory for every request, in Redis for every gateway, on disk for when Redis is
away.

Records only ever change by being revoked, so copies merge without conflict: whatever is missing on
one side is filled in from the other, a flushed Redis too.
"""

from collections.abc import Iterable
from pathlib import Path
from secrets import randbelow

import orjson

from gateway.domain.keys import (
    KeyRecord,
    dump_keys,
    dump_record,
    load_keys,
    merge,
    record_from,
)
from gateway.metrics import KEYS, KEYS_AGE
from gateway.ports import StoreAway
from kit.clock import Clock
from kit.durable import write_whole
from kit.logs import get_logger
from kit.redis_pipeline import Argument, PipelinedRedis, RedisAway, RedisError

_log = get_logger(__name__)

_EVEN_IF_FULL = """#!lua flags=allow-oom
return redis.call(ARGV[1], KEYS[1], unpack(ARGV, 2))"""
"""A key can be taken back from a store that has no memory left: a record is some hundred bytes."""
EPOCH_STEP_MAX = 2**32
"""Not one by one: a Redis restored from a copy would count up to epochs that were seen before, and
who saw them would take no notice."""
RECORDS_A_WRITE = 1_000
"""Lua takes no more than some 8,000 arguments."""


class KeysRedis:
    """A ``KeyRing`` that polls Redis for a changed epoch and keeps a snapshot (mode 0600)."""

    def __init__(
        self,
        redis: PipelinedRedis,
        snapshot: Path,
        pepper: bytes,
        clock: Clock,
        namespace: str = "ll",
    ) -> None:
        self._redis = redis
        self._snapshot = snapshot
        self._pepper = pepper
        self._clock = clock
        self._hash, self._epoch_key = f"{namespace}:keys", f"{namespace}:keys:epoch"
        self._records: dict[str, KeyRecord] = {}
        self._epoch: bytes | None = b"never read"
        self._read_ns = 0

    @property
    def pepper(self) -> bytes:
        """The secret of the digests."""
        return self._pepper

    def get(self, key_id: str) -> KeyRecord | None:
        """The record of that id, or None."""
        return self._records.get(key_id)

    def all(self) -> tuple[KeyRecord, ...]:
        """Every record, the oldest first."""
        return tuple(sorted(self._records.values(), key=lambda r: (r.created_us, r.id)))

    def load_snapshot(self) -> None:
        """Take what is on disk; no file is no keys yet."""
        if self._snapshot.exists():
            self._take(load_keys(self._snapshot.read_bytes()))

    async def put(self, record: KeyRecord) -> None:
        """Store a record. Raises ``StoreAway``, and then it counts nowhere."""
        merged = merge(self._records.get(record.id), record)
        await self._write([merged])
        self._take([merged])
        self._save()

    async def poll(self) -> None:
        """Bring memory, Redis and disk to the same records. Run it periodically."""
        try:
            epoch, held = await self._redis.execute_many(
                [("GET", self._epoch_key), ("EXISTS", self._hash)]
            )
            if not held or epoch != self._epoch:
                await self._read_all()
                self._epoch = epoch
            self._read_ns = self._clock.monotonic_ns()
        except (RedisAway, RedisError, StoreAway):
            pass  # memory goes on; KEYS_AGE tells
        KEYS_AGE.set((self._clock.monotonic_ns() - self._read_ns) / 1e9)

    async def _read_all(self) -> None:
        flat = await self._redis.execute("HGETALL", self._hash)
        theirs: dict[str, KeyRecord] = {}
        for value in flat[1::2]:
            try:
                record = record_from(orjson.loads(value))
            except (orjson.JSONDecodeError, KeyError, TypeError):
                _log.warning("key_record_unreadable")
                continue
            theirs[record.id] = record
        before = dict(self._records)
        self._take(theirs.values())
        if missing := [r for key, r in self._records.items() if theirs.get(key) != r]:
            await self._write(missing)
        if before != self._records:
            self._save()

    async def _write(self, records: list[KeyRecord]) -> None:
        writes: list[tuple[Argument, ...]] = []
        for at in range(0, len(records), RECORDS_A_WRITE):
            some = records[at : at + RECORDS_A_WRITE]
            fields = [part for record in some for part in (record.id, dump_record(record))]
            writes.append(("EVAL", _EVEN_IF_FULL, 1, self._hash, "HSET", *fields))
        step = 1 + randbelow(EPOCH_STEP_MAX)
        writes.append(("EVAL", _EVEN_IF_FULL, 1, self._epoch_key, "INCRBY", step))
        try:
            replies = await self._redis.execute_many(writes)
        except RedisAway as away:
            raise StoreAway(str(away)) from away
        failed = [reply for reply in replies if isinstance(reply, RedisError)]
        if failed:
            raise StoreAway(str(failed[0]))

    def _take(self, records: Iterable[KeyRecord]) -> None:
        for record in records:
            merged = merge(self._records.get(record.id), record)
            if merged != self._records.get(record.id):
                self._records[record.id] = merged  # the same object stays where nothing changed
        now_us = self._clock.wall_us()
        KEYS.set(sum(record.live(now_us) for record in self._records.values()))

    def _save(self) -> None:
        write_whole(self._snapshot, dump_keys(self._records.values()), mode=0o600)
