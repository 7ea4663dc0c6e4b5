"""Prove that the online store is what the log says: by samples all the time, all keys on demand.

What differs from the log *as far as it was applied* is a mismatch, and must never be. A key may be
ahead of that where a batch is applied in part: a store that is full takes no more of it.
"""

import asyncio
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa

from feature_store.domain.as_of import Mode
from feature_store.domain.columns import Column, view_field
from feature_store.domain.join import Joined
from feature_store.domain.keys import KeyEncoder, KeyParts, distinct_keys
from feature_store.domain.parity import columns_needed, later_answers
from feature_store.domain.plan import LookedUp
from feature_store.domain.schema import ARROW_TYPES, Int64s
from feature_store.domain.statuses import PRESENT
from feature_store.metrics import PARITY
from feature_store.online import OnlineReader
from feature_store.ports import HistoricalEngine, LogReader, OnlineStore
from kit.clock import Clock
from kit.logs import get_logger
from kit.redis_pipeline import RedisAway
from shared_features import Catalogue, CompiledService, View
from shared_features.canonical import describe_view, fingerprint, view_dtypes

_log = get_logger(__name__)

BUCKETS = 256
KEYS_PER_LOOK_UP = 2000
KEYS_SAMPLED = 200
ROWS_SAMPLED = 50_000
"""Sampled keys are those of the latest rows."""
KEYS_LISTED_MAX = 50
ATTEMPTS_MAX = 5
SETTLE_S = 0.05


@dataclass(slots=True)
class Audit:
    """A view's comparison, key by key, of both sides."""

    view: str
    keys: int
    applied_seq: int
    differing_buckets: int = 0
    mismatches: list[KeyParts] = field(default_factory=list)
    """Keys whose answers differ; at most 50 are listed."""
    mismatches_total: int = 0
    orphans: int = 0
    """Hashes that hold the view although the log has no row of their key."""


class Verifier:
    """Compares the online store with the log, through the same look-up that serving uses."""

    def __init__(
        self,
        catalogue: Catalogue,
        log: LogReader,
        store: OnlineStore,
        reader: OnlineReader,
        engine: HistoricalEngine,
        clock: Clock,
        namespace: str,
    ) -> None:
        self._catalogue = catalogue
        self._log = log
        self._store = store
        self._reader = reader
        self._engine = engine
        self._clock = clock
        self._namespace = namespace
        self.audits: dict[str, Audit] = {}
        """The last audit of each view."""
        self._turn = 0

    async def run(self, every_s: float) -> None:
        """Sample for ever, spending at most a twentieth of the time on it."""
        while True:
            began_ns = self._clock.monotonic_ns()
            await self.sample_all()
            took_s = (self._clock.monotonic_ns() - began_ns) / 1e9
            await asyncio.sleep(max(every_s, 20 * took_s))

    async def sample_all(self) -> None:
        """Compare some keys of every view; a store that is away is left for the next time."""
        for name in self._catalogue.views:
            try:
                audit = await self.audit(name, keys_max=KEYS_SAMPLED)
            except (RedisAway, TimeoutError):
                return
            if audit.mismatches_total:
                _log.error("feature_mismatch", view=name, keys=audit.mismatches_total)

    async def audit(self, name: str, *, keys_max: int | None = None) -> Audit:
        """Compare every key of a view (or ``keys_max`` of them), and look for orphans."""
        view = self._catalogue.views[name]
        among = None if keys_max is None else ROWS_SAMPLED
        keys = await asyncio.to_thread(self._keys, view, among)
        if keys_max is not None and len(keys) > keys_max:
            start = self._turn % len(keys)
            self._turn += keys_max
            keys = [*keys[start:], *keys[:start]][:keys_max]
        audit = Audit(name, len(keys), 0)
        service = self._catalogue.compile_refs([f"{name}:{f}" for f in view_dtypes(view)])
        for at in range(0, len(keys), KEYS_PER_LOOK_UP):
            await self._compare(view, service, keys[at : at + KEYS_PER_LOOK_UP], audit)
        if keys_max is None:
            audit.orphans = await self._orphans(view, keys)
        PARITY.labels(name, "match").inc(audit.keys - audit.mismatches_total)
        PARITY.labels(name, "mismatch").inc(audit.mismatches_total)
        self.audits[name] = audit
        return audit

    def _keys(self, view: View, among: int | None) -> list[KeyParts]:
        """The keys of the last ``among`` rows of the log, or of all."""
        names = list(view.entity.keys)
        after = 0 if among is None else max(0, self._log.last_seq() - among)
        return distinct_keys(self._log.read_columns(view.source, [*names, "__seq"], after), names)[
            1
        ]

    async def _compare(
        self, view: View, service: CompiledService, keys: Sequence[KeyParts], audit: Audit
    ) -> None:
        names = list(view.entity.keys)
        rows = [dict(zip(names, key, strict=True)) for key in keys]
        plan = self._reader.plan(service)
        different: list[int] = []
        for attempt in range(ATTEMPTS_MAX):
            found = await self._reader.look_up(plan, rows, self._clock.now_us())
            audit.applied_seq = found.applied_seq
            joined = await asyncio.to_thread(
                self._offline, view, keys, found.now_us, found.applied_seq
            )
            online = fingerprints([found.columns[ref] for ref in service.refs], len(keys))
            offline = joined_fingerprints(joined, len(keys))
            different = [i for i in range(len(keys)) if online[i] != offline[i]]
            if not different:
                break
            # the applier may have written between the position and the values: look again
            await asyncio.sleep(SETTLE_S * attempt)
        if different and self._log.last_seq() > audit.applied_seq:
            ahead = await asyncio.to_thread(self._ahead, view, service, keys, different, found)
            different = [i for i in different if i not in ahead]
            for i in ahead:
                offline[i] = online[i]
        audit.differing_buckets += _differing(keys, online, offline)
        audit.mismatches_total += len(different)
        room = KEYS_LISTED_MAX - len(audit.mismatches)
        audit.mismatches += [keys[i] for i in different[:room]]

    def _offline(
        self, view: View, keys: Sequence[KeyParts], now_us: int, applied_seq: int
    ) -> Joined:
        at: Int64s = np.full(len(keys), now_us, np.int64)
        mode: Mode = "known"
        return self._engine.join(view, self._log, _columns(view, keys), at, mode, applied_seq)

    def _ahead(
        self,
        view: View,
        service: CompiledService,
        keys: Sequence[KeyParts],
        places: Sequence[int],
        found: LookedUp,
    ) -> set[int]:
        """Of these places: those whose values the log gave at the applied position or later. Each
        value for itself, for a key's latest value is written before its window."""
        online = {
            ref.partition(":")[2]: fingerprints([found.columns[ref]], len(keys))
            for ref in service.refs
        }
        asked = [keys[place] for place in places]
        rows = self._log.read_columns(view.source, columns_needed(view))
        at: Int64s = np.full(len(asked), found.now_us, np.int64)
        later = later_answers(view, rows, _columns(view, asked), at, found.applied_seq)
        left = {(place, feature) for place in places for feature in online}
        for joined in chain([self._offline(view, asked, found.now_us, found.applied_seq)], later):
            for feature, column in joined.items():
                sums = joined_fingerprints({feature: column}, len(asked))
                both = zip(places, sums, strict=True)
                left -= {(place, feature) for place, told in both if online[feature][place] == told}
            if not left:
                break
        return set(places) - {place for place, _ in left}

    async def _orphans(self, view: View, keys: Sequence[KeyParts]) -> int:
        encoder = KeyEncoder(view.entity, self._namespace)
        known = {encoder.of_parts(key) for key in keys}
        printed = view_field(fingerprint(describe_view(view)))
        held = await self._store.fields_of(printed)
        return sum(key not in known for key, _ in held)


def _columns(view: View, keys: Sequence[KeyParts]) -> list[pa.Array]:
    return [
        pa.array([key[place] for key in keys], _key_type(dtype)).cast(ARROW_TYPES[dtype])
        for place, dtype in enumerate(view.entity.keys.values())
    ]


def _key_type(dtype: str) -> pa.DataType:
    return pa.int64() if dtype == "timestamp" else ARROW_TYPES[dtype]


def fingerprints(columns: Sequence[Column], rows: int) -> list[int]:
    """A checksum of each row's statuses and values."""
    sums = [0] * rows
    for column in columns:
        missing = column.status != PRESENT
        if isinstance(column.values, list):
            texts = [repr(value).encode() for value in column.values]
        else:
            numbers = column.exact if column.exact is not None else column.values
            texts = _eights(np.where(missing, 0, numbers))
        _add(sums, column.status, missing, texts)
    return sums


def joined_fingerprints(joined: Joined, rows: int) -> list[int]:
    """The same checksums from the historical side."""
    sums = [0] * rows
    for column in joined.values():
        missing = column.status != PRESENT
        values = column.values
        kind = values.type
        if pa.types.is_timestamp(kind):
            values = values.cast(pa.int64())
        elif pa.types.is_boolean(kind):
            values = values.cast(pa.uint8())
        if pa.types.is_integer(values.type) or pa.types.is_floating(values.type):
            numbers = values.fill_null(0).to_numpy(zero_copy_only=False)
            wide = np.float64 if pa.types.is_floating(values.type) else np.int64
            texts = _eights(np.where(missing, 0, numbers.astype(wide)))
        else:
            texts = [repr(value).encode() for value in values.to_pylist()]
        _add(sums, column.status, missing, texts)
    return sums


def _eights(numbers: Any) -> list[bytes]:
    if numbers.dtype == np.float64:
        numbers = np.where(np.isnan(numbers), np.nan, numbers)
    data = np.ascontiguousarray(numbers).tobytes()
    return [data[at : at + 8] for at in range(0, len(data), 8)]


def _add(sums: list[int], status: Any, missing: Any, texts: Sequence[bytes]) -> None:
    codes, gone = status.tolist(), missing.tolist()
    for row, text in enumerate(texts):
        own = b"" if gone[row] else text
        sums[row] = zlib.crc32(own, zlib.crc32(bytes([codes[row]]), sums[row]))


def _differing(keys: Sequence[KeyParts], online: Sequence[int], offline: Sequence[int]) -> int:
    """How many of the buckets, by key, have different sums on the two sides."""
    sides = ([0] * BUCKETS, [0] * BUCKETS)
    for place, key in enumerate(keys):
        bucket = zlib.crc32(repr(key).encode()) % BUCKETS
        sides[0][bucket] ^= online[place]
        sides[1][bucket] ^= offline[place]
    return sum(a != b for a, b in zip(*sides, strict=True))
