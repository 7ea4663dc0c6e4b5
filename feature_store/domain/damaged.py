"""A value in the online store that no writer put there: it withholds its own row, no other."""

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

from feature_store.domain.columns import Column, Fields, Reader
from feature_store.domain.schema import Int64s
from feature_store.domain.statuses import UNAVAILABLE

UNREADABLE = (ArithmeticError, IndexError, TypeError, ValueError, struct.error)
"""What decoding raises when bytes are not what they should be."""


def decode_readable(
    reader: Reader, fields: Fields, index: Int64s | None, rows: int, now_us: int
) -> dict[str, Column]:
    """The view's columns from its own ``fields``, decoded hash by hash to find what cannot be read;
    rows of such a hash are UNAVAILABLE."""
    hashes = len(fields[0])
    bad = [at for at in range(hashes) if not _readable(reader, fields, at, now_us)]
    lost = set(bad)
    left = [[None if at in lost else v for at, v in enumerate(values)] for values in fields]
    out: dict[str, Column] = {}
    reader.decode(left, 0, index, rows, now_us, out)
    withheld = np.isin(np.arange(rows) if index is None else index, bad)
    for column in out.values():
        _withhold(column, withheld)
    return out


def _readable(reader: Reader, fields: Fields, at: int, now_us: int) -> bool:
    alone: Sequence[Sequence[Any]] = [[values[at]] for values in fields]
    try:
        reader.decode(alone, 0, None, 1, now_us, {})
    except UNREADABLE:
        return False
    return True


def _withhold(column: Column, rows: Any) -> None:
    column.status[rows] = UNAVAILABLE
    if isinstance(column.values, list):
        column.values = [
            None if gone else value
            for value, gone in zip(column.values, rows.tolist(), strict=True)
        ]
    else:
        column.values[rows] = np.nan
    if column.exact is not None:
        column.exact[rows] = 0
