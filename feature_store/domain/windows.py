"""The online state of one (key, windowed view): its rows, or, when they are many, tiles of them.

The *spine* is one packed value: ``merged seq i8 | latest tombstone's event, created, seq i8 | tiled
u1 | rows u4 | waiting u4 | cells u4 | floats u4``, then those arrays. With few rows they stand in
the spine. With many the spine holds a cell for each tile, and a *block* beside it holds each tile's
rows; a reader at t needs the spine and the one block that contains the window's first instant.
Waiting rows are known to us but not yet due; while a deletion waits, all rows stay in the spine.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from feature_store.domain.cells import (
    Raw,
    WindowLayout,
    cells_of_rows,
    reduce_cells,
)
from feature_store.domain.exact import expansion
from feature_store.domain.schema import Int64s
from feature_store.domain.spans import Span

HEAD = struct.Struct("<qqqq?IIII")
GUARD = 8
"""A spine is replaced only when its merged seq, its first bytes, is what the writer read."""
INLINE_ROWS_MAX = 64
"""Up to here all rows travel with the spine (about 3 KB); beyond, tiles are cheaper to read."""
NEVER = (-(1 << 62), 0, 0)


@dataclass(frozen=True, slots=True)
class WindowState:
    """A decoded spine."""

    layout: WindowLayout
    merged_seq: int = -1
    tomb: tuple[int, int, int] = NEVER
    """Order of the latest deletion; rows below it are gone for good."""
    tiled: bool = False
    rows: Raw = field(default_factory=lambda: np.zeros(0))
    waiting: Raw = field(default_factory=lambda: np.zeros(0))
    cells: Raw = field(default_factory=lambda: np.zeros(0))
    floats: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    """The expansions of the cells' float columns, cell by cell, column by column."""

    def encode(self) -> bytes:
        """The spine's bytes."""
        head = HEAD.pack(
            self.merged_seq, *self.tomb, self.tiled,
            len(self.rows), len(self.waiting), len(self.cells), len(self.floats),
        )  # fmt: skip
        arrays = (self.rows, self.waiting, self.cells, self.floats)
        return head + b"".join(array.tobytes() for array in arrays)


Blocks = dict[int, Raw | None]
"""Tile -> its rows; None deletes it."""


def empty_state(layout: WindowLayout) -> WindowState:
    """The state of a key that was never seen."""
    none = np.zeros(0, layout.row)
    return WindowState(layout, rows=none, waiting=none, cells=np.zeros(0, layout.cell))


def decode_state(layout: WindowLayout, spine: bytes) -> WindowState:
    """The inverse of ``WindowState.encode``."""
    seq, event, created, tomb_seq, tiled, *counts = HEAD.unpack_from(spine)
    dtypes = (layout.row, layout.row, layout.cell, np.dtype("<f8"))
    arrays, at = [], HEAD.size
    for dtype, count in zip(dtypes, counts, strict=True):
        arrays.append(np.frombuffer(spine, dtype, count, at))
        at += dtype.itemsize * count
    return WindowState(layout, seq, (event, created, tomb_seq), tiled, *arrays)


def blocks_needed(state: WindowState, added: Raw, span: Span) -> list[int]:
    """The tiles whose blocks ``fold`` has to be given."""
    if not state.tiled:
        return []
    tiles = set(state.cells["tile"].tolist())
    if added["deleted"].any() or state.waiting["deleted"].any():
        return sorted(tiles)
    touched = np.concatenate([added["event"], state.waiting["event"]])
    return sorted(tiles & set(span.tiles_us(touched).tolist()))


def fold(
    state: WindowState, blocks: Mapping[int, Raw], added: Raw, span: Span, now_us: int
) -> tuple[WindowState, Blocks]:
    """The state after more rows, as of ``now_us``, and the blocks to write.

    Rows up to the merged seq are skipped, so that repeating an application changes nothing.
    """
    layout = state.layout
    added = added[added["seq"] > state.merged_seq]
    merged = max(state.merged_seq, int(added["seq"].max(initial=-1)))
    pool = np.concatenate([state.waiting, added])
    due = pool["available"] <= now_us
    arriving = pool[due]
    tomb = max([state.tomb, *map(_order, arriving[arriving["deleted"]])])
    waiting = pool[~due]
    may_count = span.ends_us(waiting["event"]) > waiting["available"]
    waiting = waiting[waiting["deleted"] | (may_count & _above(waiting, tomb))]
    live = _in_force(arriving[~arriving["deleted"]], tomb, span, now_us)
    state = replace(state, merged_seq=merged, waiting=waiting)
    if not state.tiled:
        rows = _sorted(_in_force(np.concatenate([state.rows, live]), tomb, span, now_us))
        if len(rows) <= INLINE_ROWS_MAX or waiting["deleted"].any():
            return replace(state, tomb=tomb, rows=rows), {}
        none = np.zeros(0, layout.row)
        return _tile(replace(state, tomb=tomb, rows=none, tiled=True), {}, rows, span, now_us)
    if waiting["deleted"].any():
        rows = _sorted(_in_force(np.concatenate([*blocks.values(), live]), tomb, span, now_us))
        gone: Blocks = dict.fromkeys(state.cells["tile"].tolist())
        flat = replace(empty_state(layout), merged_seq=merged, waiting=waiting)
        return replace(flat, tomb=tomb, rows=rows), gone
    if tomb > state.tomb:
        known = np.concatenate([*blocks.values(), live])
        rows = _sorted(_in_force(known, tomb, span, now_us))
        stale: Blocks = dict.fromkeys(state.cells["tile"].tolist())
        bare = replace(state, tomb=tomb, cells=state.cells[:0], floats=state.floats[:0])
        again, written = _tile(bare, {}, rows, span, now_us)
        return again, {**stale, **written}
    return _tile(state, blocks, live, span, now_us)


def _order(row: np.void) -> tuple[int, int, int]:
    return int(row["event"]), int(row["created"]), int(row["seq"])


def _sorted(rows: Raw) -> Raw:
    return rows[np.lexsort((rows["seq"], rows["created"], rows["event"]))]


def _above(rows: Raw, tomb: tuple[int, int, int]) -> npt.NDArray[np.bool_]:
    event, created, seq = (rows[name] for name in ("event", "created", "seq"))
    later = (created > tomb[1]) | ((created == tomb[1]) & (seq > tomb[2]))
    above: npt.NDArray[np.bool_] = (event > tomb[0]) | ((event == tomb[0]) & later)
    return above


def _in_force(rows: Raw, tomb: tuple[int, int, int], span: Span, now_us: int) -> Raw:
    """The rows above the tombstone that a reader of now, or a little before, may still count."""
    if tomb > NEVER:
        rows = rows[_above(rows, tomb)]
    kept: Raw = rows[span.ends_us(rows["event"]) > now_us - span.slack_us]
    return kept


def _tile(
    state: WindowState, blocks: Mapping[int, Raw], live: Raw, span: Span, now_us: int
) -> tuple[WindowState, Blocks]:
    """Put rows into their tiles; recompute the cells of the tiles that change."""
    layout = state.layout
    written: Blocks = {}
    starts = span.tiles_us(live["event"])
    for tile in np.unique(starts).tolist():
        present = blocks.get(tile, np.zeros(0, layout.row))
        written[tile] = _sorted(np.concatenate([present, live[starts == tile]]))
    old = state.cells
    ended = span.ends_us(span.tile_ends_us(old["tile"])) <= now_us - span.slack_us
    changed = np.isin(old["tile"], list(written))
    for tile in old["tile"][ended & ~changed].tolist():
        written[tile] = None
    kept = ~ended & ~changed
    fresh = {tile: rows for tile, rows in written.items() if rows is not None}
    cells, floats = _cells_of_blocks(layout, fresh)
    held = _floats_of(state, kept)
    order = np.argsort(np.concatenate([old["tile"][kept], cells["tile"]]), kind="stable")
    together = np.concatenate([old[kept], cells])[order]
    pieces = [*held, *floats]
    flat = [value for index in order.tolist() for value in pieces[index]]
    return replace(state, cells=together, floats=np.array(flat, np.float64)), written


def _floats_of(state: WindowState, kept: npt.NDArray[np.bool_]) -> list[list[float]]:
    """The expansions of the kept cells, a flat list each."""
    lengths = sum(
        (state.cells[f"parts{i}"].astype(np.int64) for i in range(len(state.layout.names))),
        np.zeros(len(state.cells), np.int64),
    )
    ends = np.cumsum(lengths)
    return [
        state.floats[end - length : end].tolist()
        for end, length, keep in zip(ends, lengths, kept, strict=True)
        if keep
    ]


def _cells_of_blocks(
    layout: WindowLayout, blocks: Mapping[int, Raw]
) -> tuple[Raw, list[list[float]]]:
    """A cell for each tile, and the expansions of its float columns, a flat list each."""
    cells = np.zeros(len(blocks), layout.cell)
    if not blocks:
        return cells, []
    rows = np.concatenate(list(blocks.values()))
    lengths = np.array([len(block) for block in blocks.values()])
    starts: Int64s = np.cumsum(lengths) - lengths
    reduced = reduce_cells(layout, cells_of_rows(layout, rows), starts)
    cells["tile"], cells["rows"] = list(blocks), reduced.rows
    floats: list[list[float]] = [[] for _ in blocks]
    for index, name in enumerate(layout.names):
        cells[f"n{index}"], cells[f"hi{index}"] = reduced.n[index], reduced.hi[index]
        cells[f"lo{index}"] = reduced.lo[index]
        cells[f"min{index}"], cells[f"max{index}"] = reduced.least[index], reduced.greatest[index]
        if name in layout.floats:
            for place, block in enumerate(blocks.values()):
                parts = expansion(block[f"v{index}"][block[f"has{index}"]].tolist())
                cells[f"parts{index}"][place] = len(parts)
                floats[place] += parts
    return cells, floats


def array_of(layout: WindowLayout, data: bytes | None) -> Raw:
    """A block's rows from its bytes."""
    found: Raw = np.frombuffer(data or b"", layout.row)
    return found
