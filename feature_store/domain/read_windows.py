"""Aggregates at t from the spines and blocks of many keys at once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from feature_store.domain.cells import (
    INT64_MAX,
    Raw,
    Reduced,
    WindowLayout,
    cells_of_rows,
    from_ordered_bits,
    ordered_bits,
    reduce_cells,
)
from feature_store.domain.exact import exact_sum, whole_average
from feature_store.domain.schema import Bools, Int64s
from feature_store.domain.spans import Span
from feature_store.domain.windows import HEAD, decode_state, fold
from shared_features import Aggregate

Floats = npt.NDArray[np.float64]
_INFINITY = int(ordered_bits(np.array([np.inf]))[0])
_BELOW = int(ordered_bits(np.array([-np.inf]))[0])
_EXACT_HI = 1 << 30
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
        row_parts.append(spine[HEAD.size : at])
        if cells:
            end = at + cells * cell_size
            cell_parts.append(spine[at:end])
            float_parts.append(spine[end : end + floats * 8])
            if block is not None:
                row_parts.append(block)
                rows += len(block) // row_size
        counts.append((rows + waiting, cells))
    all_rows = np.frombuffer(b"".join(row_parts), layout.row)
    all_cells = np.frombuffer(b"".join(cell_parts), layout.cell)
    owners = np.arange(len(spines))
    lengths = np.array(counts, np.int64).reshape(-1, 2)
    row_owner = np.repeat(owners, lengths[:, 0])
    cell_owner = np.repeat(owners, lengths[:, 1])
    inside = (all_rows["event"] >= first) & (all_rows["available"] <= now_us)
    inside &= ~all_rows["deleted"]
    whole = all_cells["tile"] >= first
    floats_of = _float_places(layout, all_cells, cell_owner, whole)
    values = np.frombuffer(b"".join(float_parts), np.float64)
    return Pieces(
        all_rows[inside],
        row_owner[inside],
        all_cells[whole],
        cell_owner[whole],
        values[floats_of[2]],
        *floats_of[:2],
    )


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


def aggregate(
    layout: WindowLayout, features: Mapping[str, Aggregate], pieces: Pieces, owners: int
) -> dict[str, Answer]:
    """Every feature (``last`` excepted) of every owner."""
    cells = cells_of_rows(layout, pieces.rows)
    owner = pieces.row_owner
    if len(pieces.cells):
        cells = np.concatenate([cells, pieces.cells])
        owner = np.concatenate([owner, pieces.cell_owner])
        order = np.argsort(owner, kind="stable")
        cells, owner = cells[order], owner[order]
    starts = np.searchsorted(owner, np.arange(owners))
    reduced = reduce_cells(layout, cells, starts)
    sums = {
        index: _float_sums(index, pieces, owners)
        for index, name in enumerate(layout.names)
        if name in layout.floats
        and any(f.column == name and f.function in ("sum", "avg") for f in features.values())
    }
    return {
        name: _feature(layout, feature, reduced, sums)
        for name, feature in features.items()
        if feature.function != "last"
    }


def _float_sums(index: int, pieces: Pieces, owners: int) -> Floats:
    has = pieces.rows[f"has{index}"]
    kept = pieces.float_column == index
    values = np.concatenate([pieces.rows[f"v{index}"][has], pieces.floats[kept]])
    owner = np.concatenate([pieces.row_owner[has], pieces.float_owner[kept]])
    order = np.argsort(owner, kind="stable")
    ends = np.searchsorted(owner[order], np.arange(owners), side="right").tolist()
    flat = values[order].tolist()
    begins = [0, *ends[:-1]]
    return np.array([exact_sum(flat[a:b]) for a, b in zip(begins, ends, strict=True)], np.float64)


def _feature(
    layout: WindowLayout, feature: Aggregate, reduced: Reduced, sums: Mapping[int, Floats]
) -> Answer:
    never = np.zeros(len(reduced.rows), np.bool_)
    if feature.column is None:
        return Answer(reduced.rows, never)
    index = layout.names.index(feature.column)
    count = reduced.n[index]
    is_float = feature.column in layout.floats
    if feature.function == "count":
        return Answer(count, never)
    if feature.function in ("min", "max"):
        return _extreme(feature.function, index, reduced, is_float)
    if not is_float:
        return whole_answer(feature.function, reduced.hi[index], reduced.lo[index], count)
    if feature.function == "sum":
        return Answer(sums[index], never)
    with np.errstate(invalid="ignore"):
        return Answer(sums[index] / np.maximum(count, 1), count == 0)


def _extreme(function: str, index: int, reduced: Reduced, is_float: bool) -> Answer:
    least, greatest = reduced.least[index], reduced.greatest[index]
    empty = reduced.n[index] == 0
    chosen = np.where(empty, 0, least if function == "min" else greatest)
    if not is_float:
        return Answer(chosen, empty)
    poisoned = ((greatest > _INFINITY) | (least < _BELOW)) & ~empty
    return Answer(np.where(poisoned, np.nan, from_ordered_bits(chosen)), empty)


def whole_answer(function: str, hi: Int64s, lo: Int64s, count: Int64s) -> Answer:
    """Sum or average of whole numbers from the two halves of their sum."""
    empty = count == 0
    small = bool(np.all(np.abs(hi) < _EXACT_HI))
    if small:
        total = (hi << 32) + lo
        if function == "sum":
            return Answer(total, np.zeros(len(count), np.bool_))
        if np.all(np.abs(total) < _EXACT_FLOAT):
            return Answer(total / np.maximum(count, 1), empty)
    totals = [(h << 32) + low for h, low in zip(hi.tolist(), lo.tolist(), strict=True)]
    if function == "avg":
        ratios = [whole_average(t, max(c, 1)) for t, c in zip(totals, count.tolist(), strict=True)]
        return Answer(np.array(ratios, np.float64), empty)
    beyond = np.array([not -INT64_MAX - 1 <= total <= INT64_MAX for total in totals])
    fitting: Any = [0 if b else t for t, b in zip(totals, beyond, strict=True)]
    return Answer(np.array(fitting, np.int64), beyond)
