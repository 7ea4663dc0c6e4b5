"""What the gateway's verbs need from outside."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from contracts.frames import Answer, Ask, FrameKind
from gateway.domain.gcra import Grant, Policy
from gateway.domain.keys import KeyRecord
from gateway.domain.queues import Queues
from kit.deadline import Deadline
from kit.problems import Problem


class StoreAway(Exception):
    """What is needed from outside cannot be reached in time."""


class KeyRing(Protocol):
    """The keys that this gateway knows right now; no waiting."""

    @property
    def pepper(self) -> bytes:
        """The secret of the digests."""

    def get(self, key_id: str) -> KeyRecord | None:
        """The record of that id."""

    def all(self) -> tuple[KeyRecord, ...]:
        """Every record."""

    async def put(self, record: KeyRecord) -> None:
        """Store a new or revoked record for every gateway. Raises ``StoreAway``."""


class LeaseStore(Protocol):
    """Where rate limits of all gateways meet."""

    async def lease(self, name: str, policy: Policy, wanted: int, least: int) -> Grant:
        """Debit rows. Raises ``StoreAway``."""

    async def refund(self, name: str, policy: Policy, rows: int) -> None:
        """Give rows back that were leased and not spent. Raises ``StoreAway``."""


class Kept(Protocol):
    """Answers that were given, kept for a while. Every call raises ``StoreAway``; then it may have
    been done or not."""

    async def claim(self, name: str, claim: bytes, ms: int) -> bytes | None:
        """None when the name was free and is now claimed; else what stands there."""

    async def keep(self, name: str, claim: bytes, value: bytes, ms: int) -> None:
        """Replace this claim, if it stands there, by what is to be found from now on."""

    async def release(self, name: str, claim: bytes) -> None:
        """Free the name if this claim stands there."""


class SigningKeys(Protocol):
    """The public keys of token issuers."""

    async def key(self, jwks_url: str, key_id: str) -> object:
        """The key, fetched when it is not known. Raises ``StoreAway`` or ``KeyError``."""


class Replicas(Protocol):
    """The inference replicas."""

    queues: Queues

    def hopeless(self, target: str, deadline: Deadline) -> Problem | None:
        """Why not to ask (overloaded) when the answer would come after the deadline."""

    async def ask(self, kind: FrameKind, ask: Ask, rows: int, deadline: Deadline) -> Answer:
        """Ask the least busy one, and once more another where that is safe.

        Raises ``Problem``: dependency-unavailable (nothing was computed), overloaded,
        deadline-exceeded.
        """


@dataclass(frozen=True, slots=True)
class UpstreamAnswer:
    """An answer on its way: the body comes in pieces, and it must be closed."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: AsyncIterator[bytes]
    close: Callable[[], Awaitable[None]]


class Upstream(Protocol):
    """A service behind the gateway that speaks HTTP."""

    async def send(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: AsyncIterator[bytes] | None,
        deadline: Deadline,
    ) -> UpstreamAnswer:
        """Pass a request on. Raises ``StoreAway`` (no connection) or ``TimeoutError``."""
