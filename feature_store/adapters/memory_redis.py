"""How much memory the store has left before it refuses writes, as its ``INFO`` says.

Nothing is evicted there: a full store refuses every write, features and served rows alike.
"""

import math
from dataclasses import dataclass

from kit.redis_pipeline import PipelinedRedis, RedisAway, RedisError


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes; NaN where the server does not say."""

    used_bytes: float
    limit_bytes: float


class RedisMemory:
    """Asks a store that is shared with everything else that the platform keeps in Redis."""

    def __init__(self, pipeline: PipelinedRedis) -> None:
        self._pipeline = pipeline

    async def look(self) -> Memory:
        """What it says now. Raises ``RedisAway``."""
        try:
            info = await self._pipeline.execute("INFO", "memory")
        except RedisError as error:  # a user that may not ask
            raise RedisAway(str(error)) from error
        return memory_in(info)


def memory_in(info: bytes) -> Memory:
    """What counts, and against which bound: ``maxmemory``, or the machine where that is smaller.

    The server weighs what it has allocated, less the buffers that a write passes through; the
    machine weighs what is resident. In a container the server sees the memory of the whole machine.
    """
    lines = (line.partition(b":") for line in info.splitlines())
    told = {name: float(value) for name, _, value in lines if value.isdigit()}
    configured = told.get(b"maxmemory", 0)
    machine = told.get(b"total_system_memory", 0)
    if configured and (configured <= machine or not machine):
        counted = told.get(b"used_memory", math.nan) - told.get(b"mem_not_counted_for_evict", 0)
        return Memory(counted, configured)
    return Memory(told.get(b"used_memory_rss", math.nan), machine or math.nan)
