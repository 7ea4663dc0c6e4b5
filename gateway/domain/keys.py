"""API keys: how they are made, read and proven. ``ll_<env>_<id>_<secret>_<checksum>``.

What is stored is HMAC-SHA256(pepper, key), never the key. The checksum (CRC-32 of what stands
before it, in six base-62 digits) lets a scanner know a key from look-alikes without asking anybody.
"""

import hmac
import secrets
import zlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import orjson

from contracts.identity import SCOPES, Caller

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
ID_CHARACTERS = 12
SECRET_CHARACTERS = 43  # 256 bits
CHECKSUM_CHARACTERS = 6
PEPPER_BYTES_MIN = 16
PRINCIPAL_CHARACTERS_MAX = 128
LIVE_KEYS_PER_PRINCIPAL_MAX = 2
"""Two, so that a key can be replaced without a moment in which none works."""

_NO_DIGEST = "0" * 64
DEFAULT_QUOTA_ROWS = 600_000
DEFAULT_WINDOW_S = 60


class InvalidKey(ValueError):
    """A key cannot be made or read as asked; the text says why and repeats no input."""


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """What the platform knows about one key. Times are microseconds UTC, wall clock."""

    id: str
    env: str
    principal: str
    scopes: tuple[str, ...]
    digest: str
    """Hexadecimal HMAC-SHA256."""
    created_us: int
    expires_us: int | None = None
    revoked_us: int | None = None
    quota_rows: int = DEFAULT_QUOTA_ROWS
    """Rows that may be asked for at once, and that ``window_s`` seconds bring back."""
    window_s: int = DEFAULT_WINDOW_S

    def live(self, now_us: int) -> bool:
        """Whether the key opens anything now."""
        return self.revoked_us is None and (self.expires_us is None or now_us < self.expires_us)

    def caller(self) -> Caller:
        """Who holds this key."""
        return Caller(self.principal, frozenset(self.scopes))


def mint_key(
    env: str,
    principal: str,
    scopes: Iterable[str],
    *,
    pepper: bytes,
    now_us: int,
    expires_us: int | None = None,
    quota_rows: int = DEFAULT_QUOTA_ROWS,
    window_s: int = DEFAULT_WINDOW_S,
) -> tuple[str, KeyRecord]:
    """A new key and its record. The key itself exists only in what this returns."""
    asked = tuple(sorted(set(scopes)))
    _check_request(env, principal, asked, pepper)
    if quota_rows < 1 or window_s < 1 or window_s * 1_000_000 < quota_rows:
        raise InvalidKey("a quota is at least 1 row and at most 1,000,000 rows a second")
    key_id, secret = _random(ID_CHARACTERS), _random(SECRET_CHARACTERS)
    stem = f"ll_{env}_{key_id}_{secret}"
    key = f"{stem}_{_checksum(stem.encode())}"
    record = KeyRecord(
        id=key_id,
        env=env,
        principal=principal,
        scopes=asked,
        digest=_digest(pepper, key.encode()),
        created_us=now_us,
        expires_us=expires_us,
        quota_rows=quota_rows,
        window_s=window_s,
    )
    return key, record


def _check_request(env: str, principal: str, scopes: tuple[str, ...], pepper: bytes) -> None:
    if not (2 <= len(env) <= 10 and env.isascii() and env.isalpha() and env.islower()):
        raise InvalidKey("env is 2 to 10 lower-case letters")
    fits = 1 <= len(principal) <= PRINCIPAL_CHARACTERS_MAX
    if not fits or not principal.isascii() or not principal.isprintable():
        raise InvalidKey(
            f"a principal is 1 to {PRINCIPAL_CHARACTERS_MAX} printable ASCII characters"
        )
    if not scopes or not all(is_scope(scope) for scope in scopes):
        raise InvalidKey(f"scopes are among {', '.join(SCOPES)} and predict:<model>")
    if len(pepper) < PEPPER_BYTES_MIN:
        raise InvalidKey(f"the pepper has fewer than {PEPPER_BYTES_MIN} bytes")


def is_scope(scope: str) -> bool:
    """Whether the platform knows this scope."""
    family, _, model = scope.partition(":")
    named = model.isascii() and model.replace("_", "a").isalnum() and len(model) <= 63
    return scope in SCOPES or (family == "predict" and named)


def read_key(key: bytes) -> str | None:
    """The id in a well-formed key, or None. Proves nothing."""
    parts = key.split(b"_")
    if len(parts) != 5 or parts[0] != b"ll" or not key.isascii():
        return None
    return parts[2].decode()


def proves(key: bytes, record: KeyRecord | None, pepper: bytes) -> bool:
    """Whether ``key`` is the one of which ``record`` was made; takes as long when it is not."""
    expected = record.digest if record is not None else _NO_DIGEST
    return hmac.compare_digest(_digest(pepper, key), expected) and record is not None


def merge(ours: KeyRecord | None, theirs: KeyRecord) -> KeyRecord:
    """One truth from two copies: records only ever change by being revoked, the earlier counts."""
    if ours is None:
        return theirs
    revoked = [at for at in (ours.revoked_us, theirs.revoked_us) if at is not None]
    return replace(ours, revoked_us=min(revoked, default=None))


def dump_keys(records: Iterable[KeyRecord]) -> bytes:
    """The snapshot file (``<state>/gateway/keys.json``, mode 0600)."""
    ordered = sorted(records, key=lambda record: (record.created_us, record.id))
    return orjson.dumps(
        {"version": 1, "keys": [asdict(record) for record in ordered]}, option=orjson.OPT_INDENT_2
    )


def load_keys(data: bytes) -> tuple[KeyRecord, ...]:
    """The inverse of ``dump_keys``. Raises ``InvalidKey``."""
    try:
        return tuple(record_from(item) for item in orjson.loads(data)["keys"])
    except (orjson.JSONDecodeError, KeyError, TypeError) as broken:
        raise InvalidKey("the key snapshot cannot be read") from broken


def dump_record(record: KeyRecord) -> bytes:
    """One record as JSON."""
    return orjson.dumps(asdict(record))


def record_from(item: dict[str, Any]) -> KeyRecord:
    """A record from its JSON members; unknown ones are ignored. Raises KeyError, TypeError."""
    known = {field.name: item[field.name] for field in fields(KeyRecord) if field.name in item}
    return KeyRecord(**{**known, "scopes": tuple(known["scopes"])})


def _random(characters: int) -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(characters))


def _digest(pepper: bytes, key: bytes) -> str:
    return hmac.digest(pepper, key, "sha256").hex()


def _checksum(stem: bytes) -> str:
    number, digits = zlib.crc32(stem), []
    for _ in range(CHECKSUM_CHARACTERS):
        number, digit = divmod(number, len(ALPHABET))
        digits.append(ALPHABET[digit])
    return "".join(reversed(digits))
