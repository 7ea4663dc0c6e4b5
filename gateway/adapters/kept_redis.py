"""Answers that were given, in Redis, for a while."""

from gateway.ports import StoreAway
from kit.redis_pipeline import Argument, PipelinedRedis, RedisAway, RedisError, Reply

_IF_MINE = "if redis.call('GET', KEYS[1]) == ARGV[1] then "
_KEEP = _IF_MINE + "redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end"
_RELEASE = _IF_MINE + "redis.call('DEL', KEYS[1]) end"


class KeptRedis:
    """``Kept`` in Redis."""

    def __init__(self, redis: PipelinedRedis, namespace: str = "ll") -> None:
        self._redis = redis
        self._prefix = f"{namespace}:once:"

    async def claim(self, name: str, claim: bytes, ms: int) -> bytes | None:
        """None when the name was free and is now claimed; else what stands there."""
        found = await self._run("SET", self._prefix + name, claim, "NX", "GET", "PX", ms)
        return None if found is None else bytes(found)

    async def keep(self, name: str, claim: bytes, value: bytes, ms: int) -> None:
        """Replace this claim, if it stands there, by what is to be found from now on."""
        await self._run("EVAL", _KEEP, 1, self._prefix + name, claim, value, ms)

    async def release(self, name: str, claim: bytes) -> None:
        """Free the name if this claim stands there."""
        await self._run("EVAL", _RELEASE, 1, self._prefix + name, claim)

    async def _run(self, *command: Argument) -> Reply:
        try:
            return await self._redis.execute(*command)
        except (RedisAway, RedisError) as error:
            raise StoreAway(str(error)) from error
