"""The log's write-ahead file: frames of one Arrow batch each, torn at most at its end.

``magic u4 | name length u2 | payload length u4 | crc32c u4 | source name | Arrow IPC stream``,
little-endian; the checksum covers name and payload.
"""

import struct
from collections.abc import Iterator
from pathlib import Path

import crc32c
import pyarrow as pa

MAGIC = 0x4C4C4653
_HEAD = struct.Struct("<IHII")


def encode_frame(source: str, table: pa.Table) -> bytes:
    """One frame."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    name, payload = source.encode(), sink.getvalue().to_pybytes()
    checksum = crc32c.crc32c(payload, crc32c.crc32c(name))
    head = _HEAD.pack(MAGIC, len(name), len(payload), checksum)
    return b"".join((head, name, payload))


def read_frames(path: Path, offset: int = 0) -> Iterator[tuple[int, str, pa.Table]]:
    """(end offset, source, rows) of each whole frame from ``offset`` on; stops at a torn one."""
    data = path.read_bytes() if not offset else _from(path, offset)
    at = 0
    while at + _HEAD.size <= len(data):
        magic, name_length, length, checksum = _HEAD.unpack_from(data, at)
        body = at + _HEAD.size
        end = body + name_length + length
        if magic != MAGIC or end > len(data):
            return
        name, payload = data[body : body + name_length], data[body + name_length : end]
        if crc32c.crc32c(payload, crc32c.crc32c(name)) != checksum:
            return
        yield offset + end, name.decode(), pa.ipc.open_stream(payload).read_all()
        at = end


def _from(path: Path, offset: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read()
