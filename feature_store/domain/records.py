"""The packed value of a (key, view): the latest row, and rows that are known but not yet due.

A record, little-endian: ``event i8 | created i8 | seq i8 | available i8 | flags u1 | null bitmap |
fixed columns | variable columns (length u4, bytes)``. A value is one record, and when ``MORE`` is
set, ``length u4 | record`` for each row that waits for its time. Values of a view without variable
columns have one size, so that a batch of them decodes as one array.
"""

import struct
from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa

from feature_store.domain.schema import RowTimes
from shared_features.dtypes import FIXED

TOMBSTONE, MORE, EMPTY = 1, 2, 4
"""Flags: the row deletes; further records follow; nothing is due yet (the times are all least)."""

_ORDER = struct.Struct("<qqq")
_AVAILABLE = struct.Struct("<q")
_LENGTH = struct.Struct("<I")
_NUMPY = {
    "bool": "u1", "int32": "<i4", "int64": "<i8", "float32": "<f4", "float64": "<f8",
    "timestamp": "<i8",
}  # fmt: skip
FLAGS_AT = 32
Order = tuple[int, int, int]
Raw = npt.NDArray[Any]


class RecordLayout:
    """How the columns of one view are packed."""

    def __init__(self, columns: Mapping[str, str]) -> None:
        self.columns = dict(columns)
        self.fixed = [name for name, dtype in columns.items() if dtype in FIXED]
        self.variable = [name for name, dtype in columns.items() if dtype not in FIXED]
        self.bit = {name: index for index, name in enumerate(columns)}
        head: list[Any] = [(name, "<i8") for name in ("_event", "_created", "_seq", "_available")]
        head += [("_flags", "u1"), ("_nulls", "u1", ((len(columns) + 7) // 8,))]
        head += [(name, _NUMPY[columns[name]]) for name in self.fixed]
        self.dtype = np.dtype(head)
        self.size = self.dtype.itemsize
        marks: Any = {  # the flags and the null bitmap, which stand side by side
            "names": ["marks"],
            "formats": [("u1", (1 + (len(columns) + 7) // 8,))],
            "offsets": [FLAGS_AT],
            "itemsize": self.size,
        }
        self._marks = np.dtype(marks)
        self.blocks, self.block_of = self._float_blocks()

    def _float_blocks(self) -> tuple[list[np.dtype[Any]], dict[str, tuple[int, int]]]:
        """Neighbouring float columns of one type, seen as one field ``block`` of shape [columns];
        and of each of these columns its block and its place in it."""
        blocks: list[np.dtype[Any]] = []
        found: dict[str, tuple[int, int]] = {}
        offsets: Any = self.dtype.fields  # numpy types them as if there might be none
        for dtype, run in groupby(self.fixed, lambda name: _NUMPY[self.columns[name]]):
            names = list(run)
            if dtype.startswith("<f"):
                found |= {name: (len(blocks), place) for place, name in enumerate(names)}
                shape: Any = {
                    "names": ["block"],
                    "formats": [(dtype, (len(names),))],
                    "offsets": [offsets[names[0]][1]],
                    "itemsize": self.size,
                }
                blocks.append(np.dtype(shape))
        return blocks, found

    @cached_property
    def empty(self) -> bytes:
        """The head of a value of which no row is due yet."""
        blank = np.zeros(1, self.dtype)
        blank["_event"] = blank["_created"] = blank["_seq"] = blank["_available"] = -(1 << 62)
        blank["_flags"] = EMPTY
        return blank.tobytes() + _LENGTH.pack(0) * len(self.variable)

    def pack(self, table: pa.Table, times: RowTimes) -> list[bytes]:
        """One record a row of ``table``, whose columns are those of the layout."""
        rows = len(times)
        packed = np.zeros(rows, self.dtype)
        packed["_event"], packed["_created"] = times.event, times.created
        packed["_seq"], packed["_available"] = times.seq, times.available
        packed["_flags"] = times.deleted
        for name, bit in self.bit.items():
            column = table[name].combine_chunks()
            if column.null_count:
                nulls = column.is_null().to_numpy(zero_copy_only=False)
                packed["_nulls"][:, bit // 8] |= nulls.astype(np.uint8) << (bit % 8)
            if name in self.fixed:
                packed[name] = fixed_values(column)
        data, size = packed.tobytes(), self.size
        heads = [data[at : at + size] for at in range(0, rows * size, size)]
        if not self.variable:
            return heads
        parts = [encode_variable(table[name], self.columns[name]) for name in self.variable]
        return [b"".join(pieces) for pieces in zip(heads, *parts, strict=True)]

    def decode_plain(self, values: Sequence[bytes | None]) -> Raw | None:
        """``decode_fixed`` where each value is one record without flags and nulls, and nothing of
        it is variable; else None."""
        try:
            if self.variable or set(map(len, values)) != {self.size}:  # type: ignore[arg-type]
                return None
        except TypeError:  # a None
            return None
        data = b"".join(values)  # type: ignore[arg-type]
        if np.count_nonzero(np.frombuffer(data, self._marks)["marks"]):
            return None
        return np.frombuffer(data, self.dtype)

    def decode_fixed(self, values: Sequence[bytes]) -> Raw:
        """The fixed parts of values (any that may follow is ignored) as one structured array."""
        size = self.size
        if self.variable or set(map(len, values)) != {size}:
            return np.frombuffer(b"".join([value[:size] for value in values]), self.dtype)
        return np.frombuffer(b"".join(values), self.dtype)

    def decode_variable(self, values: Sequence[bytes], name: str) -> list[Any]:
        """The column ``name`` of dtype string, bytes or list, ignoring the null bitmap."""
        place, dtype = self.variable.index(name), self.columns[name]
        return [_decode_one(value, self.size, place, dtype) for value in values]

    def records(self, value: bytes) -> list[bytes]:
        """The records of a value: the due one first (absent when none is), then the waiting."""
        if not value[FLAGS_AT] & MORE:
            return [value]
        end = self._end(value, 0)
        head = value[:FLAGS_AT] + bytes([value[FLAGS_AT] & ~MORE]) + value[FLAGS_AT + 1 : end]
        found = [] if value[FLAGS_AT] & EMPTY else [head]
        while end < len(value):
            length = _LENGTH.unpack_from(value, end)[0]
            found.append(value[end + 4 : end + 4 + length])
            end += 4 + length
        return found

    def join(self, due: bytes | None, waiting: Sequence[bytes]) -> bytes:
        """The value of a due record and the waiting ones: the inverse of ``records``."""
        head = self.empty if due is None else due
        if not waiting:
            return head
        flags = bytes([head[FLAGS_AT] | MORE])
        tail = b"".join(_LENGTH.pack(len(record)) + record for record in waiting)
        return head[:FLAGS_AT] + flags + head[FLAGS_AT + 1 :] + tail

    def _end(self, value: bytes, at: int) -> int:
        end = at + self.size
        for _ in self.variable:
            end += 4 + _LENGTH.unpack_from(value, end)[0]
        return end


def order_of(record: bytes) -> Order:
    """(event, created, seq): the greatest wins."""
    event, created, seq = _ORDER.unpack_from(record)
    return event, created, seq


def available_of(record: bytes) -> int:
    """The instant from which the record may be seen."""
    return int(_AVAILABLE.unpack_from(record, 24)[0])


def latest_at(layout: RecordLayout, value: bytes, now_us: int) -> bytes | None:
    """The record of a value that is in force at ``now_us``."""
    known = [record for record in layout.records(value) if available_of(record) <= now_us]
    return max(known, key=order_of, default=None)


def merge_records(
    layout: RecordLayout, present: bytes | None, added: Sequence[bytes], now_us: int
) -> bytes | None:
    """The value after more rows; None when nothing changes. Commutes, and may be repeated.

    Of the rows due at ``now_us`` the greatest stays; of the others those that may win later.
    """
    records = dict.fromkeys([*(layout.records(present) if present else ()), *added])
    due = max((r for r in records if available_of(r) <= now_us), key=order_of, default=None)
    waiting = [
        record
        for record in records
        if available_of(record) > now_us and (due is None or order_of(record) > order_of(due))
    ]
    value = layout.join(due, sorted(waiting, key=order_of))
    return None if value == present else value


def fixed_values(column: pa.Array) -> npt.NDArray[Any]:
    """A fixed-size Arrow column as numpy, zero where null, bits untouched."""
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.int64())
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.uint8())
    if column.null_count:
        column = column.fill_null(0)
    values: npt.NDArray[Any] = column.to_numpy(zero_copy_only=False)
    return values


def encode_variable(column: pa.ChunkedArray, dtype: str) -> list[bytes]:
    """Each entry of a string, bytes or list column as ``length u4 | bytes``."""
    return [_with_length(_encode_one(value, dtype)) for value in column.to_pylist()]


def _with_length(data: bytes) -> bytes:
    return _LENGTH.pack(len(data)) + data


def _encode_one(value: Any, dtype: str) -> bytes:
    if value is None:
        return b""
    if dtype == "string":
        return bytes(value.encode())
    if dtype == "bytes":
        return bytes(value)
    if dtype == "list<string>":
        return orjson.dumps(value)
    numpy = {"list<bool>": "u1", "list<int64>": "<i8", "list<float64>": "<f8"}[dtype]
    return np.asarray(value, numpy).tobytes()


def _decode_one(record: bytes, at: int, place: int, dtype: str) -> Any:
    for _ in range(place):
        at += 4 + _LENGTH.unpack_from(record, at)[0]
    data = record[at + 4 : at + 4 + _LENGTH.unpack_from(record, at)[0]]
    if dtype == "string":
        return data.decode()
    if dtype == "bytes":
        return data
    if dtype == "list<string>":
        return orjson.loads(data) if data else []
    numpy = {"list<bool>": "?", "list<int64>": "<i8", "list<float64>": "<f8"}[dtype]
    return np.frombuffer(data, numpy).tolist()
