"""Answers that were given, in Redis, for a while."""

from gateway.ports import StoreAway
from kit.redis_pipeline import Argument, PipelinedRedis, RedisAway, RedisError, Reply

ANSWER_BYTES_MAX = 1024 * 1024
"""A larger answer is not kept; its key is free again."""


class KeptRedis:
    """``Kept`` in Redis."""

    def __init__(self, redis: PipelinedRedis, namespace: str = "ll") -> None:
        self._redis = redis
        self._prefix = f"{namespace}:once:"

    async def claim(self, name: str, mark: bytes, ms: int) -> bytes | None:
        """None when the name was free and is now claimed; else what stands there."""
        found = await self._run("SET", self._prefix + name, mark, "NX", "GET", "PX", ms)
        return None if found is None else bytes(found)

    async def keep(self, name: str, value: bytes, ms: int) -> None:
        """Replace the claim by what is to be found from now on."""
        if len(value) > ANSWER_BYTES_MAX:
            await self.release(name)
        else:
            await self._run("SET", self._prefix + name, value, "PX", ms)

    async def release(self, name: str) -> None:
        """Free the name."""
        await self._run("DEL", self._prefix + name)

    async def _run(self, *command: Argument) -> Reply:
        try:
            return await self._redis.execute(*command)
        except (RedisAway, RedisError) as error:
            raise StoreAway(str(error)) from error
