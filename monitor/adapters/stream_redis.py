"""The served log in Redis streams, read by a consumer group."""

from collections.abc import Awaitable, Iterable, Sequence
from typing import Any, TypeVar

from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from contracts.served import DEAD_LETTERS, GROUP
from kit.clock import Clock
from monitor.ports import Entry, StreamAway

T = TypeVar("T")

FIRST_ENTRIES = 64
"""What is asked for before the size of any entry is known."""


class RedisStream:
    """Port ``EventStream``. After a failed apply: ``start_over``."""

    def __init__(
        self, redis: Redis, streams: Sequence[str], consumer: str, clock: Clock, *,
        entries_max: int, block_ms: int, idle_claim_s: float, fill_bytes: int = 8 << 20,
    ) -> None:  # fmt: skip
        self._redis: Any = redis  # its stubs describe every protocol version's replies at once
        self._streams = tuple(streams)
        self._consumer = consumer
        self._clock = clock
        self._entries_max = entries_max
        self._block_ms = block_ms
        self._idle_claim_s = idle_claim_s
        self._fill_bytes = fill_bytes
        self._entry_bytes = fill_bytes / FIRST_ENTRIES
        """How large entries are of late: what came is only known after it was asked for."""
        self._claimed_ns: int | None = None
        self._pending = True
        self.more = False
        """The last read was full, or brought what was pending: there may be more."""

    def start_over(self) -> None:
        """What was read and not acknowledged is read again before anything new."""
        self._pending = True

    async def read(self) -> list[Entry]:
        """Our pending entries until there are none, then new ones; waits a little when idle.

        One read is about ``fill_bytes``, of records of one row as of a thousand: small ones are
        read on, for a part and a commit cost the same for many; of large ones few are asked for.
        """
        await self._claim_idle()
        if self._pending:
            found = await self._asked(self._read_group("0", block_ms=None))
            if found:
                self.more = True
                return found
            self._pending = False
        found = await self._asked(self._read_group(">", block_ms=self._block_ms))
        more, size = found, _bytes_of(found)
        while more and size < self._fill_bytes:
            more = await self._asked(self._read_group(">", block_ms=None, held_bytes=size))
            size += _bytes_of(more)
            found += more
        self.more = size >= self._fill_bytes
        return found

    async def _read_group(
        self, start: str, block_ms: int | None, count: int = 0, held_bytes: int = 0
    ) -> list[Entry]:
        fitting = int((self._fill_bytes - held_bytes) / self._entry_bytes)
        try:
            answer = await self._redis.xreadgroup(
                GROUP,
                self._consumer,
                dict.fromkeys(self._streams, start),
                count=count or max(1, min(self._entries_max, fitting)),
                block=block_ms,
            )
        except ResponseError as error:
            if not str(error).startswith("NOGROUP"):
                raise
            await self._make_groups()  # the first start, or Redis was wiped
            return []
        entries: list[Entry] = []
        for stream, items in answer or ():
            name = stream.decode()
            gone = [entry_id for entry_id, fields in items if not fields]
            if gone:  # trimmed by hand while pending: there is nothing to apply
                await self._redis.xack(name, GROUP, *gone)
            entries += [_entry(name, *item) for item in items if item[1]]
        if entries:
            self._entry_bytes = max(1.0, _bytes_of(entries) / len(entries))
        return entries

    async def _make_groups(self) -> None:
        for stream in self._streams:
            try:
                await self._redis.xgroup_create(stream, GROUP, id="0", mkstream=True)
            except ResponseError as error:
                if not str(error).startswith("BUSYGROUP"):
                    raise

    async def _claim_idle(self) -> None:
        """Take over what another consumer left; at most once in ``idle_claim_s``."""
        now_ns = self._clock.monotonic_ns()
        if self._claimed_ns is not None and now_ns - self._claimed_ns < self._idle_claim_s * 1e9:
            return
        self._claimed_ns = now_ns
        for stream in self._streams:
            try:
                answer = await self._asked(
                    self._redis.xautoclaim(
                        stream,
                        GROUP,
                        self._consumer,
                        int(self._idle_claim_s * 1000),
                        count=self._entries_max,
                        justid=True,
                    )
                )
            except ResponseError as error:
                if not str(error).startswith("NOGROUP"):
                    raise
                await self._asked(self._make_groups())
                continue
            self._pending = self._pending or bool(answer)

    async def read_pending(self, count: int) -> list[tuple[Entry, int]]:
        """Our first pending entries with how often each was delivered, this time included."""
        entries = await self._asked(self._read_group("0", block_ms=None, count=count))
        return [(entry, await self._asked(self._deliveries(entry))) for entry in entries]

    async def _deliveries(self, entry: Entry) -> int:
        found = await self._redis.xpending_range(
            entry.stream, GROUP, entry.entry_id, entry.entry_id, 1
        )
        return int(found[0]["times_delivered"]) if found else 1

    async def acknowledge(self, entries: Iterable[Entry]) -> None:
        """These are durable here."""
        ids: dict[str, list[str]] = {}
        for entry in entries:
            ids.setdefault(entry.stream, []).append(entry.entry_id)
        for stream, some in ids.items():
            await self._asked(self._redis.xack(stream, GROUP, *some))

    async def bury(self, entries: Sequence[tuple[Entry, str]]) -> None:
        """Move to the dead-letter stream and acknowledge, in one Redis transaction each."""
        for entry, reason in entries:
            async with self._redis.pipeline(transaction=True) as pipe:
                fields: dict[Any, Any] = {
                    "reason": reason,
                    "stream": entry.stream,
                    "id": entry.entry_id,
                    "p": entry.producer,
                    "s": entry.number,
                    "d": entry.data,
                }
                pipe.xadd(DEAD_LETTERS, fields)
                pipe.xack(entry.stream, GROUP, entry.entry_id)
                await self._asked(pipe.execute())

    async def trim(self) -> int:
        """Cut what every group has acknowledged."""
        return sum([await self._asked(self._trim(stream)) for stream in self._streams])

    async def _groups(self, stream: str) -> list[dict[str, Any]]:
        """Redis's own description of each group; none while nothing was ever served."""
        try:
            groups: list[dict[str, Any]] = await self._redis.xinfo_groups(stream)
        except ResponseError as refused:
            if "no such key" in str(refused):
                return []
            raise
        return groups

    async def _trim(self, stream: str) -> int:
        groups = await self._groups(stream)
        lowest: tuple[int, int] | None = None
        for group in groups:
            bound = _id(group["last-delivered-id"])
            bound = (bound[0], bound[1] + 1)
            if group["pending"]:
                summary = await self._redis.xpending(stream, group["name"])
                if summary["min"] is not None:  # else all were acknowledged in between
                    bound = min(bound, _id(summary["min"]))
            lowest = bound if lowest is None else min(lowest, bound)
        if lowest is None or lowest <= (0, 1):
            return 0
        cut = await self._redis.xtrim(stream, minid=f"{lowest[0]}-{lowest[1]}", approximate=False)
        return int(cut)

    async def backlog(self) -> tuple[int, float]:
        """Entries not acknowledged, and seconds since the oldest of them was written."""
        return await self._asked(self._backlog())

    async def _backlog(self) -> tuple[int, float]:
        seconds, micros = await self._redis.time()
        now_ms = seconds * 1000 + micros / 1000
        total, oldest_ms = 0, now_ms
        for stream in self._streams:
            groups = await self._groups(stream)
            group = next((g for g in groups if g["name"] == GROUP.encode()), None)
            if group is None:
                continue
            total += int(group["pending"]) + int(group["lag"] or 0)
            if group["pending"]:
                summary = await self._redis.xpending(stream, GROUP)
                if summary["min"] is not None:  # else all were acknowledged in between
                    oldest_ms = min(oldest_ms, _id(summary["min"])[0])
            elif group["lag"]:
                after = f"({group['last-delivered-id'].decode()}"
                first = await self._redis.xrange(stream, min=after, count=1)
                oldest_ms = min([oldest_ms, *(_id(found[0])[0] for found in first)])
        return total, max(0.0, (now_ms - oldest_ms) / 1000)

    async def _asked(self, call: Awaitable[T]) -> T:
        try:
            return await call
        except ResponseError as error:
            if str(error).startswith(("LOADING", "READONLY", "MISCONF", "OOM", "MASTERDOWN")):
                raise StreamAway(str(error)) from error
            raise
        except (RedisError, OSError, TimeoutError) as error:
            raise StreamAway(str(error)) from error


def _bytes_of(entries: Iterable[Entry]) -> int:
    return sum(len(entry.data) for entry in entries)


def _id(entry_id: bytes) -> tuple[int, int]:
    milliseconds, _, number = entry_id.partition(b"-")
    return int(milliseconds), int(number)


def _entry(stream: str, entry_id: bytes, fields: dict[bytes, bytes]) -> Entry:
    number = fields.get(b"s", b"")
    return Entry(
        stream=stream,
        entry_id=entry_id.decode(),
        producer=fields.get(b"p", b"").decode("utf-8", "replace"),
        number=int(number) if number.isdigit() and len(number) < 19 else 0,
        data=fields.get(b"d", b""),
    )
