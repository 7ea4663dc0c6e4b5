"""Entity keys: typed tuples, never concatenated text; a null part matches nothing."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from feature_store.domain.schema import ARROW_TYPES
from shared_features import Entity

KeyParts = tuple[Any, ...]  # str, int, bool
Codes = npt.NDArray[np.int64]
INT64_MIN, INT64_MAX = -(1 << 63), (1 << 63) - 1


class InvalidKey(ValueError):
    """A key part of the wrong type; the message names the field, not the value."""

    def __init__(self, field: str, dtype: str) -> None:
        super().__init__(f"the key field {field!r} must be {dtype}")
        self.field = field


def encode_part(value: Any, dtype: str, field: str = "") -> bytes:
    """One key part as bytes that no other part, of any type, shares."""
    if dtype == "string":
        if type(value) is str:
            try:
                text = value.encode()
            except UnicodeEncodeError:
                raise InvalidKey(field, "a string of valid Unicode") from None
            return b"s%d:%b" % (len(text), text)
    elif dtype == "bool":
        if type(value) is bool:
            return b"b1" if value else b"b0"
    elif dtype == "timestamp":
        if isinstance(value, datetime) and value.tzinfo is not None:
            value = instant_us(value)
        if type(value) is int:
            return b"t%d" % value
    elif type(value) is int and INT64_MIN <= value <= INT64_MAX:
        return b"i%d" % value
    raise InvalidKey(field, dtype)


def instant_us(value: datetime) -> int:
    """Microseconds since 1970 of a zone-aware datetime, exactly."""
    seconds = int(value.replace(microsecond=0).timestamp())
    return seconds * 1_000_000 + value.microsecond


class KeyEncoder:
    """Encodes the keys of one entity to the names of its hashes in the online store."""

    def __init__(self, entity: Entity, namespace: str, columns: Sequence[str] = ()) -> None:
        self.columns = tuple(columns) or tuple(entity.keys)
        self._dtypes = tuple(entity.keys.values())
        self._head = f"{namespace}:fs:{{{entity.name}|".encode()
        self._simple = self._dtypes == ("string",)

    def of_row(self, row: Mapping[str, Any]) -> bytes | None:
        """The hash of a row's entity; None when a part is null.

        Raises ``KeyError`` for an absent field and ``InvalidKey`` for one of the wrong type.
        """
        return self.of_parts([row[column] for column in self.columns])

    def of_rows(self, rows: Sequence[Mapping[str, Any]]) -> list[bytes | None]:
        """``of_row`` of each row; a key of one text needs no call a row."""
        if self._simple:
            texts = [row[self.columns[0]] for row in rows]
            if set(map(type, texts)) == {str}:
                with suppress(UnicodeEncodeError):  # told below, with the field's name
                    head = self._head
                    return [b"%bs%d:%b}" % (head, len(t), t) for t in map(str.encode, texts)]
        return [self.of_row(row) for row in rows]

    def of_parts(self, parts: Sequence[Any]) -> bytes | None:
        """The hash of a key tuple; None when a part is null."""
        if self._simple:
            part = parts[0]
            if part is None:
                return None
            return b"%b%b}" % (self._head, encode_part(part, "string", self.columns[0]))
        if None in parts:
            return None
        encoded = [
            encode_part(part, dtype, column)
            for part, dtype, column in zip(parts, self._dtypes, self.columns, strict=True)
        ]
        return b"%b%b}" % (self._head, b"|".join(encoded))


def _dictionary(column: pa.ChunkedArray | pa.Array) -> tuple[Codes, pa.Array]:
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    encoded = array if pa.types.is_dictionary(array.type) else array.dictionary_encode()
    indices = encoded.indices
    if indices.null_count:
        indices = pc.fill_null(indices, -1)
    return indices.to_numpy(zero_copy_only=False).astype(np.int64), encoded.dictionary


def key_codes(columns: Sequence[pa.ChunkedArray | pa.Array]) -> tuple[Codes, int]:
    """A dense code for each distinct key tuple, −1 where a part is null; and how many there are."""
    combined, distinct = _dictionary(columns[0])
    size = max(len(distinct), 1)
    for column in columns[1:]:
        codes, values = _dictionary(column)
        width = max(len(values), 1)
        missing = (combined < 0) | (codes < 0)
        pairs = pa.array(combined * width + codes, mask=missing)
        combined, distinct = _dictionary(pairs)
        size = max(len(distinct), 1)
    return combined, size


def distinct_keys(table: pa.Table, columns: Sequence[str]) -> tuple[Codes, list[KeyParts]]:
    """Codes of a table's keys as ``key_codes``, and the key tuple of each code."""
    codes, size = key_codes([table[column] for column in columns])
    first = np.full(size, -1, np.int64)
    position = np.arange(len(codes) - 1, -1, -1)
    backwards = codes[::-1]
    known = backwards >= 0
    first[backwards[known]] = position[known]
    rows = table.select(list(columns)).take(pa.array(first[first >= 0]))
    parts = [_plain(rows[column]) for column in columns]
    return codes, list(zip(*parts, strict=True))


def _plain(column: pa.ChunkedArray) -> list[Any]:
    if column.type == ARROW_TYPES["timestamp"]:
        column = pc.cast(column, pa.int64())
    return list(column.to_pylist())
