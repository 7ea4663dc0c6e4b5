"""Served rows as the index keeps them: a block for each lane and hour of a micro-batch.

A row of its own in a table, with an entry in each index, costs a row 5 µs; in a block it costs
the copying of its bytes, and one entry for each request.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import orjson

from monitor.domain.rows import KEY_BYTES, REQUEST_BYTES, Keys, Rows

Records = npt.NDArray[np.void]
RECORD = np.dtype(
    [
        ("key", f"V{KEY_BYTES}"), ("event_us", "<i8"), ("score", "<f8"), ("predicted", "<i4"),
        ("latency_us", "<u4"), ("propensity", "<f4"), ("outcome", "u1"), ("flags", "u1"),
    ]
)  # fmt: skip
_HALVES = np.dtype([("first", "<u8"), ("second", "<u8"), ("row", "<u2")])
_NAMED = np.dtype([("request", f"V{REQUEST_BYTES}"), ("row", "<u2")])

RUN = np.dtype(
    [("request", f"V{REQUEST_BYTES}"), ("at", "<i8"), ("first_row", "<i8"), ("rows", "<i8")]
)
"""Consecutive rows of one request at consecutive places: the request id, the first place, the
first row number, and the number of rows."""
Runs = npt.NDArray[np.void]
"""dtype ``RUN``."""


@dataclass(frozen=True, slots=True)
class Block:
    """n rows: ``records`` [n] of ``RECORD``, their units [n], and their segments [n] (joined by
    bars; empty: none of any row has one)."""

    records: Records
    units: Sequence[str]
    segments: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.records)

    def only(self, kept: npt.NDArray[np.bool_]) -> "Block":
        """The rows where ``kept`` [n] is true."""
        if kept.all():
            return self
        at = np.flatnonzero(kept).tolist()
        segments = [self.segments[i] for i in at] if self.segments else ()
        return Block(self.records[kept], [self.units[i] for i in at], segments)

    def pack(self) -> tuple[bytes, bytes]:
        """Bytes for a store: the records, and the words as JSON."""
        return self.records.tobytes(), orjson.dumps([self.units, self.segments])

    @staticmethod
    def unpack(records: bytes, words: bytes) -> "Block":
        """The inverse of ``pack``."""
        return Block(np.frombuffer(records, RECORD), *orjson.loads(words))

    def join(self, other: "Block") -> "Block":
        """This block's rows and then the other's."""
        segments: list[str] = []
        if self.segments or other.segments:
            segments = [*_each(self), *_each(other)]
        records = np.concatenate([self.records, other.records])
        return Block(records, [*self.units, *other.units], segments)


def _each(block: Block) -> Sequence[str]:
    return block.segments or [""] * len(block)


def block_of(rows: Rows, segments: Sequence[str]) -> Block:
    """The rows as one block; ``segments`` [n]."""
    records = np.empty(len(rows), RECORD)
    records["key"] = rows.keys
    for name in RECORD.names[1:] if RECORD.names else ():
        records[name] = getattr(rows, name)
    return Block(records, rows.units, segments if any(segments) else ())


def requests_of(keys: Keys) -> list[bytes]:
    """The request ids [n] of keys."""
    ids: list[bytes] = np.ascontiguousarray(keys.view(_NAMED)["request"]).tolist()
    return ids


def runs(keys: Keys) -> Runs:
    """The keys as ``RUN``s, in order; together they are the keys again."""
    if not len(keys):
        return np.empty(0, RUN)
    keys = np.ascontiguousarray(keys)
    halves = keys.view(_HALVES)
    row = halves["row"].astype(np.int64)
    goes_on = (
        (halves["first"][1:] == halves["first"][:-1])
        & (halves["second"][1:] == halves["second"][:-1])
        & (row[1:] == row[:-1] + 1)
    )
    starts = np.concatenate([[0], np.flatnonzero(~goes_on) + 1])
    found = np.empty(len(starts), RUN)
    found["request"] = keys.view(_NAMED)["request"][starts]
    found["at"], found["first_row"] = starts, row[starts]
    found["rows"] = np.diff(starts, append=len(keys))
    return found
