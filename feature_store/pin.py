"""A pin: a position in the log and a hash of all that is before it."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from feature_store.ports import LogReader
from shared_features import Source


@dataclass(frozen=True, slots=True)
class Pin:
    """Names a state of the log; equal pins mean equal rows."""

    seq: int
    manifest_sha256: str


def position(log: LogReader, seq: int | None) -> int:
    """The position ``seq``, or the log's end. Raises ``ValueError`` for one that the log has not
    reached: what is joined up to there would still change."""
    last = log.last_seq()
    if seq is not None and not 0 <= seq <= last:
        raise ValueError(f"the log has no position {seq}; it ends at {last}")
    return last if seq is None else seq


def pin_log(log: LogReader, sources: Sequence[Source], seq: int | None = None) -> Pin:
    """The pin at ``seq``, or at the log's end. Reads every row of the sources up to there. Raises
    ``ValueError`` for a position that the log has not reached."""
    at = position(log, seq)
    digest = hashlib.sha256()
    for source in sorted(sources, key=lambda one: one.name):
        rows = log.read(source, up_to_seq=at)
        digest.update(f"{source.name} {len(rows)}\n".encode())
        digest.update(_canonical(rows))
    return Pin(at, digest.hexdigest())


def _canonical(rows: pa.Table) -> bytes:
    """The same bytes for the same rows, however they are cut into segments."""
    sink = hashlib.sha256()
    whole = rows.combine_chunks()
    for name in whole.column_names:
        sink.update(name.encode())
        column = pa.concat_arrays([pa.nulls(0, whole[name].type), *whole[name].chunks])
        sink.update(column.is_null().to_numpy(zero_copy_only=False).tobytes())
        if not pa.types.is_nested(column.type):
            column = _without_nulls(column)  # what a null covers may be anything
        sink.update(pa.RecordBatch.from_arrays([column], [name]).serialize().to_pybytes())
    return sink.digest()


def _without_nulls(column: pa.Array) -> pa.Array:
    if pa.types.is_string(column.type) or pa.types.is_binary(column.type):
        return column.fill_null("" if pa.types.is_string(column.type) else b"")
    filler = pa.scalar(0, pa.int64()).cast(column.type)
    return column.fill_null(filler)
