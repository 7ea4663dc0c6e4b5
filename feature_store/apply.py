"""Apply log rows of one view to the online store. Repeating it changes nothing.

Rows already due go in by one compare-and-set a key; keys with rows that still wait for their time,
and windows, are read, merged and swapped, again if another writer came between.
"""

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from itertools import islice
from typing import TypeVar

import pyarrow as pa

from feature_store.domain.cells import Raw
from feature_store.domain.columns import block_field
from feature_store.domain.records import merge_records
from feature_store.domain.windows import (
    GUARD,
    Blocks,
    WindowState,
    array_of,
    blocks_needed,
    decode_state,
    empty_state,
    fold,
)
from feature_store.domain.writing import Hash, ViewWriter
from feature_store.ports import Contended, OnlineStore, Swap

KEYS_PER_TRIP = 512
SWAP_ATTEMPTS_MAX = 20
ROWS_ON_LOOP_MAX = 2000
"""So many rows take about 10 ms; more are prepared on a thread."""
T = TypeVar("T")


async def apply_rows(
    store: OnlineStore, writer: ViewWriter, rows: pa.Table, now_us: int, *, fresh: bool
) -> None:
    """Apply rows of the view's source. ``fresh``: nothing of this view is in the store yet, and
    ``rows`` are all there are, so values are written without being read first."""
    if not len(rows):
        return
    keyed = await _off_loop(len(rows), partial(writer.keyed, rows))
    if not len(keyed.codes):
        return
    if writer.latest is not None:
        writes = await _off_loop(len(rows), partial(writer.latest_writes, keyed, now_us))
        if fresh:
            await _put_latest(store, writer, writes.due, writes.merges, now_us)
        else:
            records = [(key, writer.latest_field, record) for key, record in writes.due]
            contended = await store.put_newer(records)
            merges = {**writes.merges, **{records[i][0]: [records[i][2]] for i in contended}}
            await _merge_latest(store, writer, merges, now_us)
    if writer.window is not None:
        group = partial(writer.window_rows, keyed, now_us, fresh=fresh)
        grouped = await _off_loop(len(rows), group)
        if fresh:
            await _put_windows(store, writer, grouped, now_us)
        else:
            await _merge_windows(store, writer, grouped, now_us)


async def _off_loop(rows: int, work: Callable[[], T]) -> T:
    """Do the work here, or on a thread when it would hold the loop up for long."""
    return work() if rows < ROWS_ON_LOOP_MAX else await asyncio.to_thread(work)


async def _put_latest(
    store: OnlineStore,
    writer: ViewWriter,
    due: list[tuple[Hash, bytes]],
    merges: Mapping[Hash, list[bytes]],
    now_us: int,
) -> None:
    assert writer.latest is not None
    field = writer.latest_field
    values = [(key, {field: record}) for key, record in due]
    for key, records in merges.items():
        merged = merge_records(writer.latest, None, records, now_us)
        if merged is not None:
            values.append((key, {field: merged}))
    await store.put(values)


async def _merge_latest(
    store: OnlineStore, writer: ViewWriter, merges: Mapping[Hash, list[bytes]], now_us: int
) -> None:
    assert writer.latest is not None
    field, left = writer.latest_field, dict(merges)
    for _ in range(SWAP_ATTEMPTS_MAX):
        if not left:
            return
        keys = list(left)
        present = await store.get([(key, (field,)) for key in keys])
        swaps = []
        for key, (value,) in zip(keys, present, strict=True):
            merged = merge_records(writer.latest, value, left[key], now_us)
            if merged is not None:
                swaps.append(Swap(key, field, value, merged, {}, whole=True))
        lost = await store.swap(swaps)
        left = {swaps[i].key: left[swaps[i].key] for i in lost}
    raise Contended(writer.view.name)


async def _put_windows(
    store: OnlineStore, writer: ViewWriter, grouped: Mapping[Hash, Raw], now_us: int
) -> None:
    assert writer.window is not None
    assert writer.span is not None
    nothing = empty_state(writer.window)
    remaining = iter(grouped.items())
    while batch := list(islice(remaining, KEYS_PER_TRIP)):
        values: list[tuple[bytes, dict[bytes, bytes]]] = []
        for key, rows in batch:
            state, blocks = fold(nothing, {}, rows, writer.span, now_us)
            fields = {writer.field: state.encode(), **_block_fields(writer, blocks)}
            values.append((key, fields))
        await store.put(values)
        await asyncio.sleep(0)  # a cold start is long; others have their turn


def _block_fields(writer: ViewWriter, blocks: Blocks) -> dict[bytes, bytes]:
    return {
        block_field(writer.field, tile): rows.tobytes()
        for tile, rows in blocks.items()
        if rows is not None
    }


async def _merge_windows(
    store: OnlineStore, writer: ViewWriter, grouped: Mapping[Hash, Raw], now_us: int
) -> None:
    left = dict(grouped)
    for _ in range(SWAP_ATTEMPTS_MAX):
        if not left:
            return
        again: dict[Hash, Raw] = {}
        remaining = iter(left.items())
        while batch := dict(islice(remaining, KEYS_PER_TRIP)):
            again |= await _merge_batch(store, writer, batch, now_us)
        left = again
    raise Contended(writer.view.name)


async def _merge_batch(
    store: OnlineStore, writer: ViewWriter, batch: Mapping[Hash, Raw], now_us: int
) -> dict[Hash, Raw]:
    """Merge one batch of keys; returns those that lost to another writer."""
    assert writer.window is not None
    assert writer.span is not None
    keys = list(batch)
    spines = [value for (value,) in await store.get([(key, (writer.field,)) for key in keys])]
    states: list[WindowState] = [
        empty_state(writer.window) if spine is None else decode_state(writer.window, spine)
        for spine in spines
    ]
    needed = [
        blocks_needed(s, batch[key], writer.span) for key, s in zip(keys, states, strict=True)
    ]
    asked = [
        (key, [block_field(writer.field, tile) for tile in tiles])
        for key, tiles in zip(keys, needed, strict=True)
        if tiles
    ]
    found = iter(await store.get(asked) if asked else [])
    swaps = []
    for key, spine, state, tiles in zip(keys, spines, states, needed, strict=True):
        data = next(found) if tiles else []
        if spine is not None and not (batch[key]["seq"] > state.merged_seq).any():
            continue  # everything was applied before
        blocks = {t: array_of(writer.window, d) for t, d in zip(tiles, data, strict=True)}
        after, written = fold(state, blocks, batch[key], writer.span, now_us)
        dropped = tuple(block_field(writer.field, t) for t, r in written.items() if r is None)
        guard = None if spine is None else spine[:GUARD]
        fields = _block_fields(writer, written)
        swaps.append(Swap(key, writer.field, guard, after.encode(), fields, dropped))
    return {swaps[i].key: batch[swaps[i].key] for i in await store.swap(swaps)}
