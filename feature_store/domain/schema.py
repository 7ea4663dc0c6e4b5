"""A source's rows as an Arrow table: the source's columns and the log's own.

``__event_us`` what the row is about, ``__created_us`` the source's version order, ``__ingested_us``
when the log took it (never decreasing), ``__seq`` its position in the log, ``__deleted`` whether it
is a tombstone, ``__event_id`` the caller's name for it, or null.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from shared_features import Source

Int64s = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

INSTANT = pa.timestamp("us", tz="UTC")
ARROW_TYPES: dict[str, pa.DataType] = {
    "bool": pa.bool_(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "float32": pa.float32(),
    "float64": pa.float64(),
    "timestamp": INSTANT,
    "string": pa.string(),
    "bytes": pa.binary(),
    "list<bool>": pa.list_(pa.bool_()),
    "list<int64>": pa.list_(pa.int64()),
    "list<float64>": pa.list_(pa.float64()),
    "list<string>": pa.list_(pa.string()),
}

SYSTEM = pa.schema(
    [
        ("__event_us", pa.int64()),
        ("__created_us", pa.int64()),
        ("__ingested_us", pa.int64()),
        ("__seq", pa.int64()),
        ("__deleted", pa.bool_()),
        ("__event_id", pa.string()),
    ]
)

TIME_US_MIN, TIME_US_MAX = -62_135_596_800_000_000, 253_402_300_800_000_000
"""Instants lie in the years 1 to 9999 (UTC, the end excluded): Python can show them, and adding a
window or an age never overflows."""


def source_schema(source: Source) -> pa.Schema:
    """The Arrow schema of a source's log rows."""
    fields = [(name, ARROW_TYPES[dtype]) for name, dtype in source.columns.items()]
    return pa.schema([*SYSTEM, *fields])


@dataclass(frozen=True, slots=True)
class RowTimes:
    """The times of n log rows, arrays of shape [n], microseconds."""

    event: Int64s
    created: Int64s
    seq: Int64s
    available: Int64s
    """The first instant at which serving could have known the row."""
    deleted: Bools

    def __len__(self) -> int:
        return len(self.event)

    def take(self, index: npt.NDArray[Any]) -> "RowTimes":
        """The rows at ``index`` (positions or a mask)."""
        return RowTimes(
            self.event[index],
            self.created[index],
            self.seq[index],
            self.available[index],
            self.deleted[index],
        )


def int64s(column: pa.ChunkedArray | pa.Array) -> Int64s:
    """A column without nulls as int64."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if not pa.types.is_int64(array.type):
        array = pc.cast(array, pa.int64())
    found: Int64s = array.to_numpy(zero_copy_only=False)
    return found


def row_times(table: pa.Table, lag_us: int | None) -> RowTimes:
    """Times of log rows; ``lag_us`` is the source's declared availability lag."""
    event, created = int64s(table["__event_us"]), int64s(table["__created_us"])
    known = np.maximum(event, created)
    if lag_us is None:
        available = np.maximum(known, int64s(table["__ingested_us"]))
    else:
        available = known + lag_us
    deleted = table["__deleted"].combine_chunks().to_numpy(zero_copy_only=False)
    return RowTimes(event, created, int64s(table["__seq"]), available, deleted)
