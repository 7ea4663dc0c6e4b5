"""The served log in Redis streams, read by a bystander.

There is no consumer group: a verifier that is away keeps nobody from cutting the log, and what was
cut meanwhile is a sample less. How far was read stands in the store, so that a restart goes on.
"""

from typing import Any

from contracts.served import carries_lineage
from kit.redis_pipeline import PipelinedRedis, RedisAway, RedisError

ENTRIES_PER_READ = 100
READS_MAX = 40
"""Of one turn; together with the pause between turns the longest that this takes of Redis."""
BEGINNING = b"0-0"


class RedisServedLog:
    """Port ``ServedLog``."""

    def __init__(self, pipeline: PipelinedRedis, streams: tuple[str, ...], namespace: str) -> None:
        self._pipeline = pipeline
        self._streams = [stream.encode() for stream in streams]
        self._place = f"{namespace}:fs:replayed"
        self._read_up_to: dict[bytes, bytes] | None = None
        self._all_read = True

    async def read(self) -> list[bytes]:
        if not self._streams:
            return []
        if self._read_up_to is None:
            known = await self._ask("HMGET", self._place, *self._streams)
            places = [place or BEGINNING for place in known]
            self._read_up_to = dict(zip(self._streams, places, strict=True))
        found: list[bytes] = []
        for _ in range(READS_MAX):
            entries = await self._next(self._read_up_to)
            self._all_read = entries is None
            if entries is None:
                break
            found += entries
        return found

    async def _next(self, read_up_to: dict[bytes, bytes]) -> list[bytes] | None:
        """The records with lineage among the next entries; None when there is no entry."""
        places = (*read_up_to, *read_up_to.values())
        reply = await self._ask("XREAD", "COUNT", ENTRIES_PER_READ, "STREAMS", *places)
        if not reply:
            return None
        found = []
        for stream, entries in reply:
            for entry_id, fields in entries:
                read_up_to[stream] = entry_id
                data = _data_of(fields)
                if carries_lineage(data):
                    found.append(data)
        return found

    async def done(self) -> None:
        if self._read_up_to:
            flat = [part for pair in self._read_up_to.items() for part in pair]
            await self._ask("HSET", self._place, *flat)

    async def lag_s(self) -> float:
        if self._all_read or self._read_up_to is None:
            return 0.0
        lag_ms = 0
        for stream, place in self._read_up_to.items():
            newest = await self._ask("XREVRANGE", stream, "+", "-", "COUNT", 1)
            if newest:
                lag_ms = max(lag_ms, _ms(newest[0][0]) - _ms(place))
        return lag_ms / 1000

    async def _ask(self, *command: bytes | str | int) -> Any:
        try:
            return await self._pipeline.execute(*command)
        except RedisError as error:
            raise RedisAway(str(error)) from error


def _data_of(fields: list[bytes]) -> bytes:
    names = fields[::2]
    return fields[2 * names.index(b"d") + 1] if b"d" in names else b""


def _ms(entry_id: bytes) -> int:
    return int(entry_id.partition(b"-")[0])
