"""Rate limits in Redis: one Lua script, one trip, the server's clock."""

import hashlib
from pathlib import Path

from gateway.domain.gcra import Grant, Policy
from gateway.ports import StoreAway
from kit.redis_pipeline import Argument, PipelinedRedis, RedisAway, RedisError

_SCRIPT = Path(__file__).with_name("lease.lua").read_text()
_DIGEST = hashlib.sha1(_SCRIPT.encode(), usedforsecurity=False).hexdigest()


class LeasesRedis:
    """A ``LeaseStore`` in Redis. ``all_rows`` optionally limits all callers together."""

    def __init__(
        self, redis: PipelinedRedis, *, namespace: str = "ll", platform: Policy | None = None
    ) -> None:
        self._redis = redis
        self._namespace = namespace
        self._platform = platform

    async def lease(self, name: str, policy: Policy, wanted: int, least: int) -> Grant:
        """Debit rows. Raises ``StoreAway``."""
        granted, remaining, retry_us, now_us = await self._run(name, policy, wanted, least)
        return Grant(granted, now_us, remaining, retry_us)

    async def refund(self, name: str, policy: Policy, rows: int) -> None:
        """Give rows back. Raises ``StoreAway``."""
        await self._run(name, policy, -rows, -rows)

    async def _run(self, name: str, policy: Policy, wanted: int, least: int) -> list[int]:
        keys = [f"{self._namespace}:limit:{name}"]
        policies = [policy]
        if self._platform is not None:
            keys.append(f"{self._namespace}:limit-all")
            policies.append(self._platform)
        numbers: list[Argument] = [
            number for p in policies for number in (p.emission_us, p.quota_rows)
        ]
        tail: tuple[Argument, ...] = (len(keys), *keys, wanted, least, *numbers)
        try:
            try:
                reply = await self._redis.execute("EVALSHA", _DIGEST, *tail)
            except RedisError as error:
                if not str(error).startswith("NOSCRIPT"):
                    raise
                reply = await self._redis.execute("EVAL", _SCRIPT, *tail)
            return [int(number) for number in reply]
        except (RedisAway, RedisError, TypeError, ValueError) as error:
            raise StoreAway(str(error)) from error
