"""API keys for principals: make one, list them, revoke one."""

from collections.abc import Iterable
from dataclasses import replace

from contracts.identity import Caller
from contracts.problems import ProblemCode
from gateway.domain.keys import (
    DEFAULT_QUOTA_ROWS,
    DEFAULT_WINDOW_S,
    LIVE_KEYS_PER_PRINCIPAL_MAX,
    InvalidKey,
    KeyRecord,
    mint_key,
)
from gateway.ports import KeyRing, StoreAway
from kit.clock import Clock
from kit.logs import get_logger
from kit.problems import Problem

_log = get_logger(__name__)


class IssueKeys:
    """What an administrator does with keys."""

    def __init__(self, ring: KeyRing, clock: Clock, env: str) -> None:
        self._ring = ring
        self._clock = clock
        self._env = env

    async def create(
        self,
        actor: Caller,
        principal: str,
        scopes: Iterable[str],
        *,
        expires_in_s: int | None = None,
        quota_rows: int = DEFAULT_QUOTA_ROWS,
        window_s: int = DEFAULT_WINDOW_S,
    ) -> tuple[str, KeyRecord]:
        """A new key, shown this once. Raises ``Problem`` (conflict, invalid-input)."""
        now_us = self._clock.wall_us()
        live = [r for r in self._ring.all() if r.principal == principal and r.live(now_us)]
        if len(live) >= LIVE_KEYS_PER_PRINCIPAL_MAX:
            detail = f"A principal has at most {LIVE_KEYS_PER_PRINCIPAL_MAX} live keys; revoke one."
            raise Problem(ProblemCode.CONFLICT, detail)
        try:
            key, record = mint_key(
                self._env,
                principal,
                scopes,
                pepper=self._ring.pepper,
                now_us=now_us,
                expires_us=None if expires_in_s is None else now_us + expires_in_s * 1_000_000,
                quota_rows=quota_rows,
                window_s=window_s,
            )
        except InvalidKey as invalid:
            raise Problem(ProblemCode.INVALID_INPUT, f"{invalid}.".capitalize()) from None
        await self._put(record)
        _log.info("key_created", key=record.id, principal=principal, actor=actor.principal)
        return key, record

    async def revoke(self, actor: Caller, key_id: str) -> KeyRecord:
        """End a key; again is no error. Raises ``Problem`` (not-found)."""
        record = self._ring.get(key_id)
        if record is None:
            raise Problem(ProblemCode.NOT_FOUND, "There is no key of that id.")
        if record.revoked_us is None:
            record = replace(record, revoked_us=self._clock.wall_us())
            await self._put(record)
            _log.info("key_revoked", key=key_id, actor=actor.principal)
        return record

    def all(self) -> tuple[KeyRecord, ...]:
        """Every key's record, live or not, the oldest first."""
        return self._ring.all()

    async def _put(self, record: KeyRecord) -> None:
        try:
            await self._ring.put(record)
        except StoreAway:
            detail = "Redis, where the gateways share keys, is away; nothing was changed."
            raise Problem(ProblemCode.DEPENDENCY_UNAVAILABLE, detail) from None
