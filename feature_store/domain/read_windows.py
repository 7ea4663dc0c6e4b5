"""Aggregates at t from the spines and blocks of many keys at once."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from feature_store.domain.cells import (
    INT64_MAX,
    LOW,
    Raw,
    WindowLayout,
    from_ordered_bits,
    ordered_bits,
)
from feature_store.domain.exact import exact_sum, whole_average
from feature_store.domain.schema import Bools, Int64s
from feature_store.domain.spans import Span
from feature_store.domain.windows import HEAD, decode_state, fold
from shared_features import Aggregate

Floats = npt.NDArray[np.float64]
_INFINITY = int(ordered_bits(np.array([np.inf]))[0])
_BELOW = int(ordered_bits(np.array([-np.inf]))[0])
_EXACT_HI = 1 << 29
_SMALL = 1 << 40
"""Up to 2^21 values below this have a sum of less than 2^61."""
_EXACT_FLOAT = 1 << 53


@dataclass(frozen=True, slots=True)
class Answer:
    """One aggregate of many keys: values (int64 or float64), and where there is none."""

    values: Raw
    null: Bools


def read_windows(
    layout: WindowLayout,
    span: Span,
    features: Mapping[str, Aggregate],
    spines: Sequence[bytes | None],
    blocks: Sequence[bytes | None],
    now_us: int,
) -> dict[str, Answer]:
    """The aggregates (``last`` excepted) of each key; ``blocks`` hold ``tail_tile``'s rows."""
    pieces = _gather(layout, span, spines, blocks, now_us)
    return aggregate(layout, features, pieces, len(spines))


def tail_tile(span: Span, now_us: int) -> int | None:
    """The tile that is only partly in the window at ``now_us``; None when it is cut exactly."""
    first = span.first_us(now_us)
    tile = span.tile_us(first)
    return tile if tile < first else None


@dataclass(frozen=True, slots=True)
class Pieces:
    """What of many keys lies in the window: rows and tiles, with the owner of each."""

    rows: Raw
    row_owner: Int64s
    cells: Raw
    cell_owner: Int64s
    floats: Floats
    float_owner: Int64s
    float_column: Int64s


def _gather(
    layout: WindowLayout,
    span: Span,
    spines: Sequence[bytes | None],
    blocks: Sequence[bytes | None],
    now_us: int,
) -> Pieces:
    row_size, cell_size = layout.row.itemsize, layout.cell.itemsize
    row_parts: list[bytes] = []
    cell_parts: list[bytes] = []
    float_parts: list[bytes] = []
    counts: list[tuple[int, int]] = []
    first = span.first_us(now_us)
    for spine, block in zip(spines, blocks, strict=True):
        if spine is None:
            counts.append((0, 0))
            continue
        spine = _with_due_deletions(layout, span, spine, now_us)  # noqa: PLW2901
        *_, rows, waiting, cells, floats = HEAD.unpack_from(spine)
        at = HEAD.size + (rows + waiting) * row_size
        end = at + cells * cell_size
        if end + floats * 8 != len(spine):
            raise ValueError("a spine that is not as long as its head says")
        row_parts.append(spine[HEAD.size : at])
        if cells:
            cell_parts.append(spine[at:end])
            float_parts.append(spine[end : end + floats * 8])
            if block is not None:
                row_parts.append(block)
                rows += len(block) // row_size
        counts.append((rows + waiting, cells))
    rows_in = np.frombuffer(b"".join(row_parts), layout.row)
    inside = (rows_in["event"] >= first) & (rows_in["available"] <= now_us)
    inside &= ~rows_in["deleted"]
    row_owner = _owners([count for count, _ in counts])[inside]
    none = np.zeros(0, np.int64)
    if not cell_parts:
        return Pieces(rows_in[inside], row_owner, layout.no_cells, none, _NO_FLOATS, none, none)
    cells = np.frombuffer(b"".join(cell_parts), layout.cell)
    cell_owner = _owners([count for _, count in counts])
    whole = cells["tile"] >= first
    float_owner, float_column, kept = _float_places(layout, cells, cell_owner, whole)
    return Pieces(
        rows_in[inside],
        row_owner,
        cells[whole],
        cell_owner[whole],
        np.frombuffer(b"".join(float_parts), np.float64)[kept],
        float_owner,
        float_column,
    )


def _owners(counts: list[int]) -> Int64s:
    if len(counts) == 1:
        return np.zeros(counts[0], np.int64)
    return np.repeat(np.arange(len(counts)), counts)


_NO_FLOATS: Floats = np.zeros(0)


def _with_due_deletions(layout: WindowLayout, span: Span, spine: bytes, now_us: int) -> bytes:
    """A deletion that waited and is due now, before any writer came by."""
    if not HEAD.unpack_from(spine)[6]:
        return spine
    state = decode_state(layout, spine)
    waiting = state.waiting
    if not (waiting["deleted"] & (waiting["available"] <= now_us)).any():
        return spine
    return fold(state, {}, np.zeros(0, layout.row), span, now_us)[0].encode()


def _float_places(
    layout: WindowLayout, cells: Raw, owners: Int64s, whole: Bools
) -> tuple[Int64s, Int64s, Bools]:
    """Owner and column of each float of the kept cells, and which floats those are."""
    names = range(len(layout.names))
    if not len(cells) or not layout.floats:
        nothing = np.zeros(0, np.int64)
        return nothing, nothing, np.zeros(0, np.bool_)
    lengths = np.stack([cells[f"parts{i}"] for i in names], axis=1).ravel().astype(np.int64)
    width = len(layout.names)
    owner = np.repeat(np.repeat(owners, width), lengths)
    column = np.repeat(np.tile(np.arange(width), len(cells)), lengths)
    kept = np.repeat(np.repeat(whole, width), lengths)
    return owner[kept], column[kept], kept


class _Segments:
    """Consecutive stretches of an array, one an owner; ``owner`` does not decrease."""

    def __init__(self, owner: Int64s, owners: int) -> None:
        self._length = len(owner)
        self._owners = owners
        if owners != 1:
            self._starts = np.searchsorted(owner, np.arange(owners))
            self._ends = np.append(self._starts[1:], self._length)

    def sizes(self) -> Int64s:
        if self._owners == 1:
            return np.array([self._length])
        sizes: Int64s = self._ends - self._starts
        return sizes

    def total(self, values: Raw) -> Int64s:
        if self._owners == 1:
            return np.array([values.sum(dtype=np.int64)])
        running = np.zeros(self._length + 1, np.int64)
        np.cumsum(values, dtype=np.int64, out=running[1:])
        difference: Int64s = running[self._ends] - running[self._starts]
        return difference

    def extreme(self, values: Raw, function: np.ufunc, nothing: int) -> Int64s:
        if self._owners == 1:
            return np.array([function.reduce(values, initial=nothing)], np.int64)
        found = np.full(self._owners, nothing, np.int64)
        filled = self._ends > self._starts
        if filled.any():
            found[filled] = function.reduceat(values, self._starts[filled])
        return found


class _Parts:
    """What rows and tiles of each owner add up to, computed when it is first asked for."""

    def __init__(self, layout: WindowLayout, pieces: Pieces, owners: int) -> None:
        self._layout = layout
        self._pieces = pieces
        self._owners = owners
        self._of_rows = _Segments(pieces.row_owner, owners)
        self._of_cells = _Segments(pieces.cell_owner, owners) if len(pieces.cells) else None
        self._known: dict[tuple[str, int], Any] = {}

    def _once(self, part: str, index: int, compute: Callable[[int], Any]) -> Any:
        found = self._known.get((part, index))
        if found is None:
            found = self._known[part, index] = compute(index)
        return found

    def _with_cells(self, of_rows: Int64s, name: str) -> Int64s:
        if self._of_cells is None:
            return of_rows
        return of_rows + self._of_cells.total(self._pieces.cells[name])

    def rows(self) -> Int64s:
        return self._with_cells(self._of_rows.sizes(), "rows")

    def count(self, index: int) -> Int64s:
        found: Int64s = self._once("n", index, self._count)
        return found

    def _count(self, index: int) -> Int64s:
        return self._with_cells(self._of_rows.total(self._pieces.rows[f"has{index}"]), f"n{index}")

    def halves(self, index: int) -> tuple[Int64s, Int64s]:
        """The exact sum of a column of whole numbers as (high, low): high · 2^32 + low."""
        found: tuple[Int64s, Int64s] = self._once("sum", index, self._halves)
        return found

    def _halves(self, index: int) -> tuple[Int64s, Int64s]:
        rows = self._pieces.rows
        values = rows[f"v{index}"]  # zero where there is no value
        if not len(values) or max(int(values.max()), -int(values.min())) < _SMALL:
            hi, lo = np.zeros(self._owners, np.int64), self._of_rows.total(values)
        else:
            hi, lo = self._of_rows.total(values >> 32), self._of_rows.total(values & LOW)
        return self._with_cells(hi, f"hi{index}"), self._with_cells(lo, f"lo{index}")

    def extreme(self, index: int, name: str) -> Int64s:
        """The least or greatest value by owner; of floats as ordered bits."""

        def compute(place: int) -> Int64s:
            rows, nothing = self._pieces.rows, INT64_MAX if name == "min" else -INT64_MAX - 1
            values = rows[f"v{place}"]
            if self._layout.names[place] in self._layout.floats:
                values = ordered_bits(values)
            values = np.where(rows[f"has{place}"], values, nothing)
            function = np.minimum if name == "min" else np.maximum
            found = self._of_rows.extreme(values, function, nothing)
            if self._of_cells is not None:
                cells = self._pieces.cells[f"{name}{place}"]
                found = function(found, self._of_cells.extreme(cells, function, nothing))
            return found

        found: Int64s = self._once(name, index, compute)
        return found

    def float_sum(self, index: int) -> Floats:
        found: Floats = self._once("float", index, self._float_sum)
        return found

    def _float_sum(self, index: int) -> Floats:
        pieces = self._pieces
        has = pieces.rows[f"has{index}"]
        kept = pieces.float_column == index
        values = np.concatenate([pieces.rows[f"v{index}"][has], pieces.floats[kept]])
        owner = np.concatenate([pieces.row_owner[has], pieces.float_owner[kept]])
        order = np.argsort(owner, kind="stable")
        ends = np.searchsorted(owner[order], np.arange(self._owners), side="right").tolist()
        flat = values[order].tolist()
        begins = [0, *ends][:-1]
        sums = [exact_sum(flat[begin:end]) for begin, end in zip(begins, ends, strict=True)]
        return np.array(sums, np.float64)


def aggregate(
    layout: WindowLayout, features: Mapping[str, Aggregate], pieces: Pieces, owners: int
) -> dict[str, Answer]:
    """Every feature (``last`` excepted) of every owner."""
    parts = _Parts(layout, pieces, owners)
    never = np.zeros(owners, np.bool_)
    return {
        name: _feature(layout, feature, parts, never)
        for name, feature in features.items()
        if feature.function != "last"
    }


def _feature(layout: WindowLayout, feature: Aggregate, parts: _Parts, never: Bools) -> Answer:
    if feature.column is None:
        return Answer(parts.rows(), never)
    index = layout.names.index(feature.column)
    count = parts.count(index)
    is_float = feature.column in layout.floats
    if feature.function == "count":
        return Answer(count, never)
    if feature.function in ("min", "max"):
        return _extreme(feature.function, index, parts, is_float)
    if not is_float:
        return whole_answer(feature.function, *parts.halves(index), count)
    if feature.function == "sum":
        return Answer(parts.float_sum(index), never)
    with np.errstate(invalid="ignore"):
        return Answer(parts.float_sum(index) / np.maximum(count, 1), count == 0)


def _extreme(function: str, index: int, parts: _Parts, is_float: bool) -> Answer:
    empty = parts.count(index) == 0
    chosen = np.where(empty, 0, parts.extreme(index, function))
    if not is_float:
        return Answer(chosen, empty)
    least, greatest = parts.extreme(index, "min"), parts.extreme(index, "max")
    poisoned = ((greatest > _INFINITY) | (least < _BELOW)) & ~empty
    return Answer(np.where(poisoned, np.nan, from_ordered_bits(chosen)), empty)


def whole_answer(function: str, hi: Int64s, lo: Int64s, count: Int64s) -> Answer:
    """Sum or average of whole numbers from the two halves of their sum."""
    empty = count == 0
    if not len(hi) or max(int(hi.max()), -int(hi.min())) < _EXACT_HI:
        total = (hi << 32) + lo
        if function == "sum":
            return Answer(total, np.zeros(len(count), np.bool_))
        if not len(hi) or max(int(total.max()), -int(total.min())) < _EXACT_FLOAT:
            return Answer(total / np.maximum(count, 1), empty)
    totals = [(h << 32) + low for h, low in zip(hi.tolist(), lo.tolist(), strict=True)]
    if function == "avg":
        ratios = [whole_average(t, max(c, 1)) for t, c in zip(totals, count.tolist(), strict=True)]
        return Answer(np.array(ratios, np.float64), empty)
    beyond = np.array([not -INT64_MAX - 1 <= total <= INT64_MAX for total in totals])
    fitting: Any = [0 if b else t for t, b in zip(totals, beyond, strict=True)]
    return Answer(np.array(fitting, np.int64), beyond)
