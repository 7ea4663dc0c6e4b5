"""The values of one view, out of the online store's fields and into columns."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from feature_store.domain.cells import WindowLayout
from feature_store.domain.read_windows import read_windows, tail_tile
from feature_store.domain.records import (
    EMPTY,
    FLAGS_AT,
    MORE,
    TOMBSTONE,
    RecordLayout,
    latest_at,
)
from feature_store.domain.schema import Int64s
from feature_store.domain.spans import span_of
from feature_store.domain.statuses import NOT_FOUND, NULL_VALUE, OUTSIDE_MAX_AGE, PRESENT
from shared_features import CompiledRead, FeatureView
from shared_features.canonical import view_dtypes
from shared_features.dtypes import FIXED

Status = npt.NDArray[np.uint8]
Key = bytes | None
Fields = Sequence[Sequence[Any]]
"""Of each field that was asked for: its value (bytes or None) in each hash."""
FIELD_HEX = 12
NO_AGE = -1
"""The age where there is no row, and of aggregates, which are about now."""


def view_field(fingerprint: str) -> bytes:
    """The field of an entity's hash that holds a view: a changed view is another field."""
    return fingerprint[:FIELD_HEX].encode()


def block_field(field: bytes, tile_us: int) -> bytes:
    """The field of the rows of one tile of a windowed view."""
    return b"%b:%d" % (field, tile_us)


def last_field(field: bytes) -> bytes:
    """The field of the latest row of a windowed view (for the aggregate ``last``)."""
    return field + b":l"


@dataclass(slots=True)
class Column:
    """One feature of n rows."""

    values: Any
    """float64 [n] with NaN for null; a list with None for strings, bytes and lists."""
    status: Status
    """[n], indices into ``contracts.served.STATUSES``."""
    age_us: Int64s
    """[n], now − event time of the row that was found; −1 where none was, and for aggregates."""
    exact: Int64s | None = None
    """int64 [n] of whole numbers, timestamps and bools (0 where null); None for others."""


class Reader(ABC):
    """Reads one view out of replies."""

    width: int
    moves: bool
    """Whether the fields depend on the time."""

    def __init__(self, read: CompiledRead, features: Mapping[str, list[str]]) -> None:
        self.field = view_field(read.fingerprint)
        self.refs = features
        self.dtypes = view_dtypes(read.view)

    @abstractmethod
    def fields(self, now_us: int) -> Iterable[bytes]:
        """The fields of an entity's hash that answer at ``now_us``; ``width`` of them."""

    @abstractmethod
    def decode(
        self,
        fields: Fields,
        at: int,
        index: Int64s | None,
        rows: int,
        now_us: int,
        out: dict[str, Column],
    ) -> None:
        """Put the view's columns into ``out``. Its fields begin at place ``at``; ``index`` has the
        place of each row's hash (−1: none), or is None where row i has hash i."""


class LatestReader(Reader):
    width, moves = 1, False

    def __init__(self, read: CompiledRead, features: Mapping[str, list[str]]) -> None:
        super().__init__(read, features)
        assert isinstance(read.view, FeatureView)
        self._layout = RecordLayout(read.view.features)
        self._max_age = read.view.max_age_us
        places = self._layout.block_of
        self._in_blocks = [(refs, *places[f]) for f, refs in features.items() if f in places]
        self._numbers = {number for _, number, _ in self._in_blocks}
        self._others = {f: refs for f, refs in features.items() if f not in places}

    def fields(self, now_us: int) -> Iterable[bytes]:  # noqa: ARG002 - the reader's shape
        return (self.field,)

    def decode(
        self,
        fields: Fields,
        at: int,
        index: Int64s | None,
        rows: int,  # noqa: ARG002 - the reader's shape
        now_us: int,
        out: dict[str, Column],
    ) -> None:
        found = decode_latest(self._layout, fields[at], index, now_us)
        status = found.status
        if self._max_age is not None:
            status[(status == PRESENT) & (found.age > self._max_age)] = OUTSIDE_MAX_AGE
        age = found.age  # −1 where nothing was found
        others = self.refs
        if not found.nulls:
            others = self._others
            blocks = {number: found.block(number, status) for number in self._numbers}
            for refs, number, place in self._in_blocks:
                column = Column(blocks[number][place], status, age)
                for ref in refs:
                    out[ref] = column
        for feature, refs in others.items():
            column = found.column(feature, self.dtypes[feature], status, age)
            for ref in refs:
                out[ref] = column


class WindowReader(Reader):
    moves = True

    def __init__(self, read: CompiledRead, features: Mapping[str, list[str]]) -> None:
        super().__init__(read, features)
        view = read.view
        assert not isinstance(view, FeatureView)
        self._aggregates = {n: a for n, a in view.features.items() if n in features}
        self._layout = WindowLayout(view)
        self._span = span_of(view)
        self._last = last_layout(view)
        self._lasts = any(a.function == "last" for a in self._aggregates.values())
        self._cells = any(a.function != "last" for a in self._aggregates.values())
        self.width = 2 * self._cells + self._lasts

    def fields(self, now_us: int) -> Iterable[bytes]:
        fields: list[bytes] = []
        if self._cells:
            tile = tail_tile(self._span, now_us)
            # without a tail any absent field will do
            fields += [self.field, block_field(self.field, tile if tile is not None else -1)]
        if self._lasts:
            fields.append(last_field(self.field))
        return fields

    def decode(
        self,
        fields: Fields,
        at: int,
        index: Int64s | None,
        rows: int,
        now_us: int,
        out: dict[str, Column],
    ) -> None:
        if self._cells:
            self._decode_cells(fields, at, index, rows, now_us, out)
        if self._lasts:
            self._decode_last(fields, at + 2 * self._cells, index, now_us, out)

    def _decode_cells(
        self,
        fields: Fields,
        at: int,
        index: Int64s | None,
        rows: int,
        now_us: int,
        out: dict[str, Column],
    ) -> None:
        spines = fields[at]
        blocks: Sequence[Any] = [None] * len(spines)
        if tail_tile(self._span, now_us) is not None:
            blocks = fields[at + 1]
        if index is not None:  # one more owner, without rows, stands for keys with a null part
            spines, blocks = [*spines, None], [*blocks, None]
        found = read_windows(self._layout, self._span, self._aggregates, spines, blocks, now_us)
        age = np.full(rows, NO_AGE, np.int64)
        for feature, answer in found.items():
            values, null = answer.values, answer.null
            if index is not None:
                values, null = values[index], null[index]
            column = _window_column(values, null, age)
            for ref in self.refs[feature]:
                out[ref] = column

    def _decode_last(
        self,
        fields: Fields,
        at: int,
        index: Int64s | None,
        now_us: int,
        out: dict[str, Column],
    ) -> None:
        found = decode_latest(self._last, fields[at], index, now_us)
        first = self._span.first_us(now_us)
        status = found.status
        gone = (status == PRESENT) & (now_us - found.age < first)
        status[gone | (status == NOT_FOUND)] = NULL_VALUE
        age = np.where(status == PRESENT, found.age, NO_AGE)
        for feature, aggregate in self._aggregates.items():
            if aggregate.function == "last":
                assert aggregate.column is not None
                column = found.column(aggregate.column, self.dtypes[feature], status, age)
                for ref in self.refs[feature]:
                    out[ref] = column


def _window_column(values: Any, null: npt.NDArray[np.bool_], age: Int64s) -> Column:
    status = null.astype(np.uint8)  # NULL_VALUE is 1, PRESENT is 0
    floats = values.astype(np.float64)
    whole = values.dtype == np.int64
    if null.any():
        floats[null] = np.nan
        values = np.where(null, 0, values)
    return Column(floats, status, age, values if whole else None)


assert (PRESENT, NULL_VALUE) == (0, 1)


def last_layout(view: Any) -> RecordLayout:
    """How the latest row of a windowed view is packed, for its ``last`` aggregates."""
    columns = {
        aggregate.column: view.source.columns[aggregate.column]
        for aggregate in view.features.values()
        if aggregate.function == "last"
    }
    return RecordLayout(dict(sorted(columns.items())))


_NOWHERE = np.zeros(0, np.int64)


@dataclass(slots=True)
class _Latest:
    """Decoded records of n rows: where there is none, the entries are arbitrary."""

    layout: RecordLayout
    records: Any
    raw: list[bytes]
    take: Int64s
    status: Status
    age: Int64s
    nulls: bool
    """Whether any column of any record is null."""
    gaps: bool
    """Whether any row has no record."""
    straight: bool
    """Whether record i belongs to row i."""
    any_missing: bool = True
    _judged: Status | None = None
    _missing: Any = None
    _blocks: dict[int, Any] = field(default_factory=dict)

    def missing_by(self, status: Status) -> npt.NDArray[np.bool_]:
        """Where ``status`` is not PRESENT; the same for all columns, so computed once."""
        if self._judged is not status:
            self._judged, self._missing = status, status != PRESENT
            self.any_missing = bool(np.count_nonzero(self._missing))
        found: npt.NDArray[np.bool_] = self._missing
        return found

    def block(self, number: int, status: Status) -> npt.NDArray[np.float64]:
        """The float columns of a block, as float64 [columns, n] with NaN where missing. Of records
        without nulls only."""
        found: npt.NDArray[np.float64] | None = self._blocks.get(number)
        if found is None:
            values = self.records.view(self.layout.blocks[number])["block"]
            if not self.straight:
                values = values[self.take]
            found = values.T.astype(np.float64, order="C")
            missing = self.missing_by(status)
            if self.any_missing:
                found[:, missing] = np.nan
            self._blocks[number] = found
        return found

    def column(self, name: str, dtype: str, status: Status, age: Int64s) -> Column:
        place = self.layout.block_of.get(name)
        if place is not None and not self.nulls:
            return Column(self.block(place[0], status)[place[1]], status, age)
        own, missing = status, self.missing_by(status)
        if self.nulls:
            bit = self.layout.bit[name]
            null = self.records["_nulls"][:, bit // 8] >> (bit % 8) & 1
            null = null[self.take].astype(np.bool_)
            own = np.where(~missing & null, NULL_VALUE, status).astype(np.uint8)
            missing = own != PRESENT
        gone = self.gaps or self.nulls or self.any_missing
        if dtype not in FIXED:
            values = self.layout.decode_variable(self.raw, name)
            listed = [
                None if absent else values[place]
                for absent, place in zip(missing.tolist(), self.take.tolist(), strict=True)
            ]
            return Column(listed, own, age)
        values = self.records[name]
        if not self.straight:
            values = values[self.take]
        floats = values.astype(np.float64)
        exact = None if dtype.startswith("float") else values.astype(np.int64)
        if gone:
            floats[missing] = np.nan
            if exact is not None:
                exact[missing] = 0
        return Column(floats, own, age, exact)


def decode_latest(
    layout: RecordLayout, values: Sequence[bytes | None], index: Int64s | None, now_us: int
) -> _Latest:
    """The records in force of distinct keys, spread over the rows; tombstones are NOT_FOUND."""
    plain = layout.decode_plain(values) if index is None else None
    if plain is not None:  # most batches
        age, status = now_us - plain["_event"], np.zeros(len(values), np.uint8)
        return _Latest(layout, plain, [], _NOWHERE, status, age, False, False, True)
    raw: list[bytes] = []
    places: list[int] = []
    for value in values:
        if value is not None and value[FLAGS_AT] & (MORE | EMPTY):
            value = latest_at(layout, value, now_us)  # noqa: PLW2901
        if value is None or value[FLAGS_AT] & TOMBSTONE:
            places.append(-1)
        else:
            places.append(len(raw))
            raw.append(value)
    gaps = len(raw) < len(values) or index is not None
    if not gaps:
        records = layout.decode_fixed(raw)
        take = np.arange(len(raw))
        status = np.zeros(len(raw), np.uint8)
        nulls = bool(np.count_nonzero(records["_nulls"]))
        return _Latest(
            layout, records, raw, take, status, now_us - records["_event"], nulls, gaps, True
        )
    spread = np.array([*places, -1], np.int64)
    take = spread[:-1] if index is None else spread[index]
    hit = take >= 0
    records = layout.decode_fixed(raw or [layout.empty])
    take = np.where(hit, take, 0)
    status = np.where(hit, PRESENT, NOT_FOUND).astype(np.uint8)
    age = np.where(hit, now_us - records["_event"][take], NO_AGE)
    nulls = bool(np.count_nonzero(records["_nulls"]))
    return _Latest(layout, records, raw or [layout.empty], take, status, age, nulls, gaps, False)
