"""The spool's record: ``length u32 | crc32c u32 | producer length u8 | producer | seq u64 |
payload``, little-endian. ``length`` counts what follows the checksum, which covers the same bytes.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from crc32c import crc32c

RECORD_BYTES_MAX = 64 * 1024 * 1024
_HEAD = struct.Struct("<II")
_SEQ = struct.Struct("<Q")


@dataclass(frozen=True, slots=True)
class SpoolRecord:
    """One record and where it ends."""

    producer: str
    seq: int
    payload: bytes
    end: int
    """Offset after the record, in the bytes it was read from."""


@dataclass(frozen=True, slots=True, order=True)
class SpoolPlace:
    """Between two records: a segment's number and an offset in it."""

    segment: int
    offset: int


def pack_record(producer: bytes, seq: int, payload: bytes) -> bytes:
    """The bytes of one record."""
    body = b"".join((bytes((len(producer),)), producer, _SEQ.pack(seq), payload))
    return _HEAD.pack(len(body), crc32c(body)) + body


def next_record(data: bytes, start: int, name: bytes) -> int | None:
    """Where, from ``start`` on, the next sound record of that producer begins; None if none does.

    ``name`` is the producer's, with its length in front: all of a segment are of one, and looking
    for it costs less than trying every byte.
    """
    found = data.find(name, start + _HEAD.size)
    while found >= 0:
        at = found - _HEAD.size
        length, checksum = _HEAD.unpack_from(data, at)
        body = data[found : found + length] if length <= RECORD_BYTES_MAX else b""
        if len(body) == length and crc32c(body) == checksum:
            return at
        found = data.find(name, found + 1)
    return None


def name_at(data: bytes) -> bytes:
    """The producer's name in the record that ``data`` begins with, as ``next_record`` takes it."""
    return data[_HEAD.size : _HEAD.size + 1 + data[_HEAD.size]] if len(data) > _HEAD.size else b""


def records_in(data: bytes) -> Iterator[SpoolRecord]:
    """The whole, sound records from the start of ``data``; stops before the first that is torn."""
    at, end = 0, len(data)
    while end - at >= _HEAD.size:
        length, checksum = _HEAD.unpack_from(data, at)
        start = at + _HEAD.size
        if not 10 <= length <= RECORD_BYTES_MAX or end - start < length:
            return
        body = data[start : start + length]
        if crc32c(body) != checksum:
            return
        cut = 1 + body[0]
        if cut + _SEQ.size > length:
            return
        at = start + length
        yield SpoolRecord(
            producer=body[1:cut].decode("ascii", "replace"),
            seq=_SEQ.unpack_from(body, cut)[0],
            payload=body[cut + _SEQ.size :],
            end=at,
        )
