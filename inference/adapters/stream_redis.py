"""The served log as Redis streams."""

from collections.abc import Sequence

from contracts.served import STREAM
from inference.domain.spool_record import SpoolRecord
from kit.redis_pipeline import PipelinedRedis, RedisAway, RedisError

_MARK = "ll:served:mark"
_AOF_WAIT_MS = 3_000


class RedisStream:
    """Adds entries on one connection and asks for their durability on another, so that waiting
    for the server's disk does not hold up what comes next."""

    def __init__(self, adding: PipelinedRedis, asking: PipelinedRedis, partitions: int) -> None:
        self._adding = adding
        self._asking = asking
        self._partitions = partitions
        self._server = b""
        self.aof = True
        """Whether the server confirms its append-only file."""

    async def begin(self) -> None:
        """Remember which server is there: entries it loses by restarting must be added again."""
        self._server = _run_of(await self._adding.execute("INFO", "server"))

    async def add(self, records: Sequence[SpoolRecord]) -> None:
        """Append entries; after an error some may have been added."""
        replies = await self._adding.execute_many(
            [
                ("XADD", stream, "*", "p", producer, "s", seq, "d", record.payload)
                for record in records
                for stream, producer, seq in [dealt(record, self._partitions)]
            ]
        )
        for reply in replies:
            if isinstance(reply, RedisError):
                raise reply

    async def acknowledged(self) -> bool:
        """Wait until everything added since ``begin`` is in the server's file on disk.

        The file is one log: once a later write of ours is synced, the earlier ones are. False when
        the server keeps no such file, or is older than Redis 7.2 and cannot say.
        """
        marked, synced, info = await self._asking.execute_many(
            [
                ("SET", _MARK, "1"),
                ("WAITAOF", 1, 0, _AOF_WAIT_MS),
                ("INFO", "server"),
            ]
        )
        for reply in (marked, info):
            if isinstance(reply, RedisError):
                raise reply
        if _run_of(info) != self._server:
            raise RedisAway("the server was restarted")
        self.aof = not isinstance(synced, RedisError)
        if self.aof and synced[0] < 1:
            raise TimeoutError("the server's file was not synced in time")
        return self.aof


def dealt(record: SpoolRecord, partitions: int) -> tuple[str, str, int]:
    """The stream, the producer and the sequence number under which a record is added.

    Records are dealt out in turn. In each partition a producer has a name and a sequence of its
    own, from 1 without gaps: a reader of one sees no other, and must see what is missing in its.
    """
    if partitions == 1:
        return STREAM, record.producer, record.seq
    turn, partition = divmod(record.seq, partitions)
    stream = f"{STREAM}:{partition}" if partition else STREAM
    return stream, f"{record.producer}.{partition}", turn + (partition > 0)


def _run_of(info: bytes) -> bytes:
    for line in info.splitlines():
        if line.startswith(b"run_id:"):
            return line
    raise RedisAway("the server does not say who it is")
