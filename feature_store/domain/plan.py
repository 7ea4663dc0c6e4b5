"""A feature service compiled to commands for the online store, and replies back to columns.

Decided once at model load: which hashes, which fields, how each value is packed. A look-up asks one
HMGET for each distinct entity of the batch, whatever the number of views (of one field an HGET: no
list a reply), and decodes by vectors.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from feature_store.domain.columns import Column, Fields, LatestReader, Reader, WindowReader
from feature_store.domain.damaged import UNREADABLE, decode_readable
from feature_store.domain.keys import KeyEncoder
from feature_store.domain.schema import Int64s
from shared_features import CompiledService, FeatureView, MissingField

Wanted = tuple[bytes, Sequence[bytes], Sequence[bytes]]
"""A command's name, keys and further arguments: it is asked once for each key."""
LOG_FIELD = "log"
"""The field of the applied positions that names the log they are positions of."""
LIFE_FIELD = "life"
"""And the one that names its life (``domain.lives``)."""


def applied_key(namespace: str) -> str:
    """The hash with the position up to which each view's rows are in the online store."""
    return f"{namespace}:fs:applied"


@dataclass(slots=True)
class LookedUp:
    """What a look-up found: a column for each ref of the service and for each function input."""

    columns: dict[str, Column]
    rows: int
    now_us: int
    applied_seq: int
    """The position in the log up to which every view that was read is applied."""


class NotFilled(LookupError):
    """The online store does not hold a view: it is new, or the store lost its data."""


class FeaturePlan:
    """How one feature service is read. Immutable; shared by all look-ups."""

    def __init__(self, service: CompiledService, namespace: str) -> None:
        self.service = service
        self.groups: list[_Group] = []
        self.views = {ref: ref.partition(":")[0].partition("@")[0] for ref in service.refs}
        """Ref -> the view or function it is of."""
        by_hash: dict[tuple[str, tuple[str, ...]], list[Reader]] = {}
        wanted: dict[int, dict[str, list[str]]] = {}
        for feature in (*service.features, *service.inputs):
            if feature.read is not None:
                refs = wanted.setdefault(feature.read, {}).setdefault(feature.feature, [])
                if feature.ref not in refs:
                    refs.append(feature.ref)
        for index, read in enumerate(service.reads):
            place = (read.view.entity.name, read.key_columns)
            make = LatestReader if isinstance(read.view, FeatureView) else WindowReader
            by_hash.setdefault(place, []).append(make(read, wanted[index]))
        encoders = {
            (read.view.entity.name, read.key_columns): KeyEncoder(
                read.view.entity, namespace, read.key_columns
            )
            for read in service.reads
        }
        self.groups = [_Group(encoders[place], readers) for place, readers in by_hash.items()]
        printed = sorted({read.fingerprint for read in service.reads})
        applied = [applied_key(namespace).encode()]
        self._positions: Wanted = (b"HMGET", applied, tuple(map(str.encode, printed)))

    def ask(self, rows: Sequence[Mapping[str, Any]], now_us: int) -> "Question":
        """What to read for these rows. Raises ``MissingField`` and ``InvalidKey``."""
        if not self.groups:
            return Question(self, [], [], len(rows), now_us)
        wanted: list[Wanted] = [self._positions]
        places: list[tuple[Int64s | None, int]] = []
        for group in self.groups:
            keys, index = group.keys(rows)
            wanted.append((group.command, keys, group.fields(now_us)))
            places.append((index, len(keys)))
        return Question(self, wanted, places, len(rows), now_us)


@dataclass(slots=True)
class Question:
    """One look-up under way."""

    plan: FeaturePlan
    wanted: "list[Wanted]"
    """The views' positions, then each group's hashes; empty where nothing is read."""
    places: list[tuple[Int64s | None, int]]
    rows: int
    now_us: int

    def answer(self, replies: Sequence[Any]) -> LookedUp:
        """Columns from the replies, one a hash in the order of ``wanted``. Raises ``NotFilled``."""
        columns: dict[str, Column] = {}
        if not self.wanted:
            return LookedUp(columns, self.rows, self.now_us, 0)
        if None in replies[0]:
            raise NotFilled("a view is not in the online store yet")
        applied = min(map(int, replies[0]))
        at = 1
        for group, (index, count) in zip(self.plan.groups, self.places, strict=True):
            fields = group.fields_of(replies[at : at + count])
            at += count
            for reader, place in zip(group.readers, group.starts, strict=True):
                try:
                    reader.decode(fields, place, index, self.rows, self.now_us, columns)
                except UNREADABLE:
                    own = fields[place : place + reader.width]
                    columns |= decode_readable(reader, own, index, self.rows, self.now_us)
        return LookedUp(columns, self.rows, self.now_us, applied)


class _Group:
    """The views that lie in one hash: the same entity by the same key fields."""

    def __init__(self, encoder: KeyEncoder, readers: "list[Reader]") -> None:
        self.encoder = encoder
        self.readers = readers
        widths = [reader.width for reader in readers]
        self.starts = [sum(widths[:at]) for at in range(len(widths))]
        self._width = sum(widths)
        self.command = b"HGET" if self._width == 1 else b"HMGET"
        self._fixed: tuple[bytes, ...] | None = None
        if not any(reader.moves for reader in readers):
            self._fixed = tuple(f for reader in readers for f in reader.fields(0))

    def fields(self, now_us: int) -> tuple[bytes, ...]:
        if self._fixed is not None:
            return self._fixed
        return tuple(field for reader in self.readers for field in reader.fields(now_us))

    def fields_of(self, replies: Sequence[Any]) -> Fields:
        """The replies, one a hash, turned into the values of each field."""
        if self._width == 1:
            return [replies]
        return list(zip(*replies, strict=True)) if replies else [()] * self._width

    def keys(self, rows: Sequence[Mapping[str, Any]]) -> tuple[list[bytes], Int64s | None]:
        """Distinct hashes, and the place of each row's (−1: a null key; None: just one by one)."""
        try:
            keys = self.encoder.of_rows(rows)
        except KeyError as error:
            raise MissingField(str(error.args[0]), "the look-up") from None
        known = set(keys)
        if len(known) == len(keys) and None not in known:
            return keys, None  # type: ignore[return-value]  # none of them is None
        distinct = [key for key in dict.fromkeys(keys) if key is not None]
        places: dict[bytes | None, int] = {key: at for at, key in enumerate(distinct)}
        return distinct, np.array([places.get(key, -1) for key in keys], np.int64)
