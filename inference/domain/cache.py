"""Answers kept in process: what a version said to exactly these inputs."""

import struct
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from crc32c import crc32c

_ENTRY_BYTES = 200
"""What an entry costs beside its key and value."""
_SEAL = struct.Struct("<I")


class AnswerCache:
    """Least recently used entries go first; bounded in bytes. Times are monotonic nanoseconds."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._entries: OrderedDict[bytes, tuple[bytes, int]] = OrderedDict()
        self.bytes = 0

    def get(self, key: bytes, now_ns: int) -> bytes | None:
        """The value, unless it is absent or too old."""
        found = self._entries.get(key)
        if found is None:
            return None
        if found[1] <= now_ns:
            self._forget(key)
            return None
        self._entries.move_to_end(key)
        return found[0]

    def put(self, key: bytes, value: bytes, until_ns: int) -> None:
        """Keep a value until then."""
        if key in self._entries:
            self._forget(key)
        self._entries[key] = (value, until_ns)
        self.bytes += len(key) + len(value) + _ENTRY_BYTES
        while self.bytes > self._bytes_max:
            self._forget(next(iter(self._entries)))

    def _forget(self, key: bytes) -> None:
        value, _ = self._entries.pop(key)
        self.bytes -= len(key) + len(value) + _ENTRY_BYTES


def seal(key: bytes, scores: bytes) -> bytes:
    """How an answer is kept elsewhere: behind a checksum of what was asked and what was said."""
    return _SEAL.pack(crc32c(scores, crc32c(key))) + scores


def unseal(key: bytes, kept: bytes | None) -> bytes | None:
    """What ``seal`` was given with this key; None for nothing, and for what it did not make."""
    if kept is None or kept != seal(key, kept[_SEAL.size :]):
        return None
    return kept[_SEAL.size :]


def keys_of(prefix: bytes, feeds: Mapping[str, npt.NDArray[Any]], rows: int) -> list[bytes]:
    """One key a row: version and artifact (``prefix``), then every input's name, dtype and bytes,
    in order. A changed feature or another version is another key."""
    parts: list[Sequence[bytes]] = []
    for name, tensor in feeds.items():
        head = f"{name}:{tensor.dtype.str}:{tensor.shape[1:]}".encode()
        prefix += head
        parts.append(_row_bytes(tensor, rows))
    if len(parts) == 1:
        return [prefix + row for row in parts[0]]
    return [prefix + b"".join(row) for row in zip(*parts, strict=True)]


def _row_bytes(tensor: npt.NDArray[Any], rows: int) -> list[bytes]:
    if tensor.dtype == object:
        texts = [[str(value).encode() for value in row] for row in tensor.reshape(rows, -1)]
        return [b"".join([b"%d:%b" % (len(one), one) for one in row]) for row in texts]
    data = np.ascontiguousarray(tensor).tobytes()
    width = len(data) // rows
    return [data[start : start + width] for start in range(0, len(data), width)]
