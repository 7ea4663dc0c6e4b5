"""The rows and the tiles of a window, as arrays that add up.

A *cell* is what a set of rows contributes: how many rows, and for each numeric column how many
values, their exact sum (whole numbers as two 32-bit halves), least and greatest. A row is a cell of
itself, a tile one of its rows; cells of one owner are reduced by segment, whatever they stand for.
Floats are ordered by ``ordered_bits``, in which −0.0 lies below 0.0.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from feature_store.domain.records import fixed_values
from feature_store.domain.schema import Int64s, RowTimes
from shared_features import CalendarWindow, WindowView
from shared_features.dtypes import FIXED

Raw = npt.NDArray[Any]
LOW = (1 << 32) - 1
INT64_MAX = (1 << 63) - 1


def ordered_bits(values: Raw) -> Int64s:
    """float64 as int64 in the same order, −0.0 below 0.0."""
    bits = np.ascontiguousarray(values, np.float64).view(np.int64)
    return np.where(bits < 0, bits ^ INT64_MAX, bits)


def from_ordered_bits(bits: Int64s) -> npt.NDArray[np.float64]:
    """The inverse of ``ordered_bits``."""
    return np.where(bits < 0, bits ^ INT64_MAX, bits).astype(np.int64).view(np.float64)


class WindowLayout:
    """How the rows of a windowed view are kept: times, a null bit a column, numeric values."""

    def __init__(self, view: WindowView | CalendarWindow) -> None:
        wanted = {
            aggregate.column: view.source.columns[aggregate.column]
            for aggregate in view.features.values()
            if aggregate.column is not None and aggregate.function != "last"
        }
        self.columns: dict[str, str] = dict(sorted(wanted.items()))
        self.names = list(self.columns)
        self.floats = {n for n, dtype in self.columns.items() if dtype.startswith("float")}
        head: list[Any] = [(name, "<i8") for name in ("event", "created", "seq", "available")]
        head += [("deleted", "?")]
        head += [part for index in range(len(self.names)) for part in self._fields(index)]
        self.row = np.dtype(head)
        cell: list[Any] = [("tile", "<i8"), ("rows", "<i8")]
        for index in range(len(self.names)):
            cell += [(f"{part}{index}", "<i8") for part in ("n", "hi", "lo", "min", "max")]
            cell += [(f"parts{index}", "<i4")]
        self.cell = np.dtype(cell)
        self.no_cells: Raw = np.zeros(0, self.cell)

    def _fields(self, index: int) -> list[tuple[str, str]]:
        is_float = self.names[index] in self.floats
        return [(f"has{index}", "?"), (f"v{index}", "<f8" if is_float else "<i8")]

    def rows_of(self, columns: Mapping[str, Any], times: RowTimes) -> Raw:
        """Rows as a structured array; ``columns`` are Arrow arrays by name, of the same length."""
        rows = np.zeros(len(times), self.row)
        rows["event"], rows["created"] = times.event, times.created
        rows["seq"], rows["available"] = times.seq, times.available
        rows["deleted"] = times.deleted
        for index, (name, dtype) in enumerate(self.columns.items()):
            column = columns[name].combine_chunks()
            rows[f"has{index}"] = column.is_valid().to_numpy(zero_copy_only=False)
            if dtype in FIXED:  # of others only how many there are is asked
                rows[f"v{index}"] = fixed_values(column)
        return rows


@dataclass(frozen=True, slots=True)
class Reduced:
    """Cells reduced by owner: arrays of shape [owners]; sums of float columns aside."""

    rows: Int64s
    n: list[Int64s]
    hi: list[Int64s]
    lo: list[Int64s]
    least: list[Int64s]
    greatest: list[Int64s]


def cells_of_rows(layout: WindowLayout, rows: Raw) -> Raw:
    """Each row as a cell of itself; floats contribute their sum elsewhere (``parts`` = 0)."""
    cells = np.zeros(len(rows), layout.cell)
    cells["rows"] = 1
    for index, name in enumerate(layout.names):
        has, values = rows[f"has{index}"], rows[f"v{index}"]
        cells[f"n{index}"] = has
        if name in layout.floats:
            keys = ordered_bits(values)
        else:
            keys = values
            cells[f"hi{index}"] = np.where(has, values >> 32, 0)
            cells[f"lo{index}"] = np.where(has, values & LOW, 0)
        cells[f"min{index}"] = np.where(has, keys, INT64_MAX)
        cells[f"max{index}"] = np.where(has, keys, -INT64_MAX - 1)
    return cells


def reduce_cells(layout: WindowLayout, cells: Raw, starts: Int64s) -> Reduced:
    """Add up segments of ``cells`` that begin at ``starts`` (increasing; some may be empty)."""
    ends = np.append(starts[1:], len(cells))

    def total(name: str) -> Int64s:
        running = np.concatenate([[0], np.cumsum(cells[name])])
        difference: Int64s = running[ends] - running[starts]
        return difference

    def extreme(name: str, function: np.ufunc, nothing: int) -> Int64s:
        found = np.full(len(starts), nothing, np.int64)
        filled = ends > starts
        if filled.any():
            found[filled] = function.reduceat(cells[name], starts[filled])
        return found

    numbers = range(len(layout.names))
    return Reduced(
        total("rows"),
        [total(f"n{i}") for i in numbers],
        [total(f"hi{i}") for i in numbers],
        [total(f"lo{i}") for i in numbers],
        [extreme(f"min{i}", np.minimum, INT64_MAX) for i in numbers],
        [extreme(f"max{i}", np.maximum, -INT64_MAX - 1) for i in numbers],
    )
