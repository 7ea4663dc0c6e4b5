"""Who is asking? An API key or a token, from the headers, proven here and nowhere else."""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import jwt

from contracts.identity import Caller
from contracts.problems import ProblemCode
from gateway.domain.gcra import Policy
from gateway.domain.keys import PRINCIPAL_CHARACTERS_MAX, KeyRecord, is_scope, proves, read_key
from gateway.ports import KeyRing, SigningKeys, StoreAway
from gateway.settings import Issuer
from kit.clock import Clock
from kit.problems import Problem

PROVEN_MAX = 4096
TOKEN_LEEWAY_S = 30
_NONE = "No API key came with this; send it as Authorization: Bearer <key>, or as X-API-Key."
_OVER = "The token has expired."
_NO = "The API key or token is not valid here; is it all of it, and of this platform?"
_NOT_BEARER = "Authorization is to be: Bearer <key or token>; a key may also come as X-API-Key."
_TWO = "Authorization and X-API-Key are two different keys; send one."


@dataclass(slots=True, eq=False)
class Principal:
    """A proven caller, with what it may spend; one object a credential, so it can count."""

    caller: Caller
    account: str
    """Whose limit is spent: the key's id, or the token's issuer and subject."""
    policy: Policy
    record: KeyRecord | None = None
    expires_us: int | None = None
    in_flight: int = 0
    models: set[str] = field(default_factory=set)
    """Models that it was found to be allowed to ask."""


class Authenticate:
    """Proves credentials. ``now`` waits for nothing and is what the hot path calls."""

    def __init__(
        self,
        ring: KeyRing,
        signing_keys: SigningKeys,
        issuers: Sequence[Issuer],
        token_policy: Policy,
        clock: Clock,
    ) -> None:
        self._ring = ring
        self._signing_keys = signing_keys
        self._issuers = {issuer.issuer: issuer for issuer in issuers}
        self._token_policy = token_policy
        self._clock = clock
        self._proven: OrderedDict[bytes, Principal] = OrderedDict()
        self._proving: dict[bytes, asyncio.Event] = {}
        """Tokens that somebody verifies now."""

    def now(self, credential: bytes, mark: bytes | None = None) -> Principal | None:
        """The principal of a key, or of a token seen before; None when only ``later`` can tell.

        ``mark`` is the credential's ``mark_of``, from who knows it already. Raises ``Problem``
        (unauthenticated).
        """
        mark = mark or mark_of(credential)
        known = self._proven.get(mark)
        if credential.startswith(b"ll_"):
            return self._live_key(known or self._prove_key(credential, mark))
        if not credential:
            raise Problem(ProblemCode.UNAUTHENTICATED, _NONE)
        if not self._issuers or credential.count(b".") != 2:
            raise Problem(ProblemCode.UNAUTHENTICATED, _NO)
        if known is not None and (known.expires_us or 0) <= self._clock.wall_us():
            raise Problem(ProblemCode.UNAUTHENTICATED, _OVER)
        return known

    def _prove_key(self, credential: bytes, mark: bytes) -> Principal:
        record = self._ring.get(read_key(credential) or "")
        if not proves(credential, record, self._ring.pepper) or record is None:
            raise Problem(ProblemCode.UNAUTHENTICATED, _NO)
        policy = Policy(record.quota_rows, record.window_s)
        return self._keep(mark, Principal(record.caller(), record.id, policy, record))

    def _live_key(self, known: Principal) -> Principal:
        record = self._ring.get(known.account)
        if record is not known.record:  # it was revoked since, or changed
            known.record = record
        if record is None or not record.live(self._clock.wall_us()):
            raise Problem(ProblemCode.UNAUTHENTICATED, "The key has expired or was revoked.")
        return known

    def _keep(self, mark: bytes, principal: Principal) -> Principal:
        self._proven[mark] = principal
        while len(self._proven) > PROVEN_MAX:
            self._proven.popitem(last=False)
        return principal

    async def later(self, credential: bytes) -> Principal:
        """Verify a token, fetching its issuer's keys if need be. Raises ``Problem``.

        Of many who show one token now, one verifies it, and they are one principal: their requests
        in flight count together. What it did not prove, or left, the next verifies for itself.
        """
        mark = mark_of(credential)
        while (proving := self._proving.get(mark)) is not None:
            await proving.wait()
            if (known := self.now(credential, mark)) is not None:
                return known
        self._proving[mark] = proving = asyncio.Event()
        try:
            return self._keep(mark, await self._prove_token(credential))
        finally:
            del self._proving[mark]
            proving.set()

    async def _prove_token(self, credential: bytes) -> Principal:
        try:
            issuer, claims = await self._verified(credential.decode())
        except jwt.ExpiredSignatureError:  # its signature held
            raise Problem(ProblemCode.UNAUTHENTICATED, _OVER) from None
        except (jwt.PyJWTError, KeyError, UnicodeDecodeError):
            raise Problem(ProblemCode.UNAUTHENTICATED, _NO) from None
        except StoreAway:
            detail = "The keys of the token's issuer cannot be fetched."
            raise Problem(ProblemCode.DEPENDENCY_UNAVAILABLE, detail) from None
        scopes = claims.get(issuer.scope_claim)
        asked = scopes.split() if isinstance(scopes, str) else scopes
        if not isinstance(asked, list):
            asked = []
        known = frozenset(s for s in asked if isinstance(s, str) and is_scope(s))
        name = _plain(f"{issuer.issuer}|{claims[issuer.principal_claim]}")
        expires_us = (int(claims["exp"]) + TOKEN_LEEWAY_S) * 1_000_000
        caller = Caller(_short(name), known)
        return Principal(caller, name, self._token_policy, expires_us=expires_us)

    async def _verified(self, token: str) -> tuple[Issuer, dict[str, Any]]:
        unproven = jwt.decode(token, options={"verify_signature": False})
        issuer = self._issuers[str(unproven.get("iss"))]
        head = jwt.get_unverified_header(token)
        if head.get("alg") not in issuer.algorithms:  # before any key is fetched for it
            raise jwt.InvalidAlgorithmError
        key = await self._signing_keys.key(issuer.jwks_url, str(head.get("kid", "")))
        return issuer, _proven_claims(token, key, issuer)


def _proven_claims(token: str, key: object, issuer: Issuer) -> dict[str, Any]:
    """What the token says, once it is proven. Raises ``jwt.PyJWTError``."""
    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            key=key,  # type: ignore[arg-type]  # the union of key types is PyJWT's own
            algorithms=list(issuer.algorithms),
            audience=issuer.audience,
            issuer=issuer.issuer,
            leeway=TOKEN_LEEWAY_S,
            options={"require": ["iss", "aud", "exp", issuer.principal_claim]},
        )
    except TypeError as other_kind:  # the token names a key that its algorithm cannot use
        raise jwt.InvalidKeyError from other_kind
    return claims


def _plain(name: str) -> str:
    """Printable ASCII, for it travels in headers; what is not stands there escaped."""
    escaped = name.encode("ascii", "backslashreplace").decode()
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in escaped)


def _short(name: str) -> str:
    """At most so long as a key's principal; two long names that begin alike stay two."""
    if len(name) <= PRINCIPAL_CHARACTERS_MAX:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:32]
    return f"{name[: PRINCIPAL_CHARACTERS_MAX - 1 - len(digest)]}~{digest}"


def mark_of(credential: bytes) -> bytes:
    """By what a credential is remembered.

    A digest: how long the look-up takes tells nothing about a credential.
    """
    return hashlib.sha256(credential).digest()


def credential_in(authorization: bytes | None, api_key: bytes | None) -> bytes:
    """What the caller shows: ``Authorization: Bearer`` or ``X-API-Key``, not two different ones.

    Raises ``Problem`` (unauthenticated).
    """
    if authorization is None:
        return api_key or b""
    kind, _, shown = authorization.partition(b" ")
    shown = shown.strip()
    if kind.lower() != b"bearer":
        raise Problem(ProblemCode.UNAUTHENTICATED, _NOT_BEARER)
    if api_key is not None and api_key != shown:
        raise Problem(ProblemCode.UNAUTHENTICATED, _TWO)
    return shown
