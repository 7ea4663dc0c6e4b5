"""The online store in Redis: a hash an entity, a field a view, compare-and-set in Lua."""

import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from feature_store.domain.lives import NO_LIFE
from feature_store.domain.plan import LIFE_FIELD, applied_key
from feature_store.domain.writing import chunks
from feature_store.ports import Fields, StoreFull, Swap
from kit.redis_pipeline import PipelinedRedis, RedisAway, RedisError

COMMANDS_PER_TRIP = 1000
SCAN_COUNT = 1000
_SCRIPT = Path(__file__).with_name("compare_and_set.lua").read_bytes()
_SHA = hashlib.sha1(_SCRIPT, usedforsecurity=False).hexdigest()


class RedisStore:
    """Writes through a connection of its own, apart from the readers'."""

    def __init__(self, pipeline: PipelinedRedis, namespace: str = "ll") -> None:
        self._pipeline = pipeline
        self._namespace = namespace
        self._applied = applied_key(namespace)

    async def _all(self, commands: Sequence[Sequence[bytes | str | int]]) -> list[Any]:
        replies: list[Any] = []
        for part in chunks(len(commands), COMMANDS_PER_TRIP):
            replies += await self._pipeline.execute_many(commands[part.start : part.stop])
        for reply in replies:
            if isinstance(reply, RedisError):
                raise _refusal(reply) from reply
        return replies

    async def _scripts(self, calls: Sequence[Sequence[bytes | str | int]]) -> list[int]:
        """Run the script for each (key, arguments...); loads it into a server that lacks it."""
        commands = [("EVALSHA", _SHA, 1, *call) for call in calls]
        replies: list[Any] = []
        for part in chunks(len(commands), COMMANDS_PER_TRIP):
            own = commands[part.start : part.stop]
            found = await self._pipeline.execute_many(own)
            if any(isinstance(r, RedisError) and str(r).startswith("NOSCRIPT") for r in found):
                await self._all([("SCRIPT", "LOAD", _SCRIPT)])
                found = await self._pipeline.execute_many(own)  # both operations may be repeated
            replies += found
        for reply in replies:
            if isinstance(reply, RedisError):
                raise _refusal(reply) from reply
        return replies

    async def get(self, wanted: Sequence[tuple[bytes, Sequence[bytes]]]) -> list[Fields]:
        return await self._all([(b"HMGET", key, *fields) for key, fields in wanted])

    async def put(self, values: Sequence[tuple[bytes, Mapping[bytes, bytes]]]) -> None:
        commands = [
            (b"HSET", key, *(part for pair in fields.items() for part in pair))
            for key, fields in values
        ]
        await self._all(commands)

    async def put_newer(self, records: Sequence[tuple[bytes, bytes, bytes]]) -> list[int]:
        calls = [(key, b"newer", field, record) for key, field, record in records]
        return [place for place, done in enumerate(await self._scripts(calls)) if done == 2]

    async def swap(self, swaps: Sequence[Swap]) -> list[int]:
        calls: list[Sequence[bytes | str | int]] = []
        for one in swaps:
            pairs = {one.field: one.value, **one.also}
            how = b"0" if one.guard is None else b"2" if one.whole else b"1"
            guard = (how, one.guard or b"")
            flat = [part for pair in pairs.items() for part in pair]
            calls.append((one.key, b"swap", one.field, *guard, len(pairs), *flat, *one.drop))
        return [place for place, done in enumerate(await self._scripts(calls)) if done == 0]

    async def applied(self) -> dict[str, int]:
        [flat] = await self._all([("HGETALL", self._applied)])
        pairs = zip(flat[::2], flat[1::2], strict=True)
        return {field.decode(): int(position) for field, position in pairs}

    async def set_applied(self, positions: Mapping[str, int]) -> None:
        flat = [part for pair in positions.items() for part in pair]
        await self._all([("HSET", self._applied, *flat)])

    async def wipe(self) -> None:
        # Killed on the way, it has to be seen that values of the old life are still there: until
        # all are gone the store is of no life, and holds no view, so that none is looked up.
        await self._all([("HSET", self._applied, LIFE_FIELD, NO_LIFE)])
        [fields] = await self._all([("HKEYS", self._applied)])
        views = [field for field in fields if field.decode() != LIFE_FIELD]
        if views:
            await self._all([("HDEL", self._applied, *views)])
        async for keys in self._scan(f"{self._namespace}:fs:*"):
            await self._all([("UNLINK", key) for key in keys if key.decode() != self._applied])
        await self._all([("DEL", self._applied)])

    async def fields_of(self, field: bytes) -> list[tuple[bytes, bytes]]:
        found = []
        async for keys in self._scan(f"{self._namespace}:fs:{{*"):
            values = await self.get([(key, (field,)) for key in keys])
            found += [(k, v[0]) for k, v in zip(keys, values, strict=True) if v[0] is not None]
        return sorted(dict(found).items())  # a scan may show a key twice

    async def _scan(self, pattern: str) -> AsyncIterator[list[bytes]]:
        cursor = b"0"
        while True:
            [reply] = await self._all([("SCAN", cursor, "MATCH", pattern, "COUNT", SCAN_COUNT)])
            cursor, keys = reply
            yield keys
            if cursor == b"0":
                return


def _refusal(error: RedisError) -> RedisAway:
    text = str(error)
    return StoreFull(text) if text.startswith("OOM") else RedisAway(text)
