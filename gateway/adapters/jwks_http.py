"""Public keys of token issuers, fetched over HTTP, once at a time, the last good set kept."""

import asyncio
from dataclasses import dataclass, field
from functools import partial

import httpx
import jwt

from gateway.ports import StoreAway
from kit.clock import Clock
from kit.logs import get_logger
from kit.tasks import TaskOwner

_log = get_logger(__name__)

ASK_AGAIN_S = 10.0
"""An unknown key id makes a fetch at most this often, so that forged tokens cannot make many."""
FETCH_S_MAX = 3.0
"""For all of a fetch: a page that comes byte by byte would hold everybody up for as long."""


@dataclass(slots=True)
class _Set:
    keys: dict[str, jwt.PyJWK] = field(default_factory=dict)
    fetched_ns: int | None = None
    tried_ns: int | None = None
    fetching: asyncio.Task[None] | None = None


class JwksHttp:
    """``SigningKeys`` by HTTP."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        clock: Clock,
        tasks: TaskOwner,
        fresh_s: float,
        fetch_s_max: float = FETCH_S_MAX,
    ) -> None:
        self._client = client
        self._clock = clock
        self._tasks = tasks
        self._fresh_s = fresh_s
        self._fetch_s_max = fetch_s_max
        self._sets: dict[str, _Set] = {}

    async def key(self, jwks_url: str, key_id: str) -> object:
        """The key of that id. Raises ``KeyError``, or ``StoreAway`` when none was ever fetched."""
        known = self._sets.setdefault(jwks_url, _Set())
        if known.fetching is None and self._wants_fetch(known, key_id):
            known.fetching = self._tasks.start("jwks_fetch", partial(self._fetch, jwks_url, known))
        if known.fetching is not None and (key_id not in known.keys or self._is_old(known)):
            await asyncio.shield(known.fetching)  # who leaves ends it for nobody else
        if known.fetched_ns is None:
            raise StoreAway("the issuer's keys were never fetched")
        return known.keys[key_id].key

    def _wants_fetch(self, known: _Set, key_id: str) -> bool:
        now_ns = self._clock.monotonic_ns()
        if known.tried_ns is not None and now_ns - known.tried_ns < ASK_AGAIN_S * 1e9:
            return False
        stale = known.fetched_ns is None or now_ns - known.fetched_ns > self._fresh_s * 1e9
        return stale or key_id not in known.keys

    def _is_old(self, known: _Set) -> bool:
        """Whether a key may have been withdrawn long ago; a little past its time it serves on while
        the next set comes."""
        age_ns = self._clock.monotonic_ns() - (known.fetched_ns or 0)
        return age_ns > 2 * self._fresh_s * 1e9

    async def _fetch(self, jwks_url: str, known: _Set) -> None:
        try:
            await self._fetch_into(jwks_url, known)
        finally:
            known.fetching = None

    async def _fetch_into(self, jwks_url: str, known: _Set) -> None:
        try:
            async with asyncio.timeout(self._fetch_s_max):
                answer = await self._client.get(jwks_url)
            answer.raise_for_status()
            known.keys = _keys_in(answer)
        except (
            httpx.HTTPError,
            TimeoutError,
            ValueError,
            RecursionError,
            jwt.PyJWTError,
        ) as failed:
            _log.warning("jwks_fetch_failed", reason=type(failed).__name__)
            known.tried_ns = self._clock.monotonic_ns()
            return
        known.fetched_ns = known.tried_ns = self._clock.monotonic_ns()


def _keys_in(answer: httpx.Response) -> dict[str, jwt.PyJWK]:
    """The keys by their ids. Raises ``ValueError``, ``RecursionError``, ``jwt.PyJWTError``."""
    page = answer.json()
    if not isinstance(page, dict):
        raise ValueError("a set of keys is an object")
    keys = jwt.PyJWKSet.from_dict(page).keys
    return {key.key_id: key for key in keys if isinstance(key.key_id, str) and key.key_id}
