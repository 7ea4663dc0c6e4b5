"""The numpy join of one view: rows, labels, an instant each -> typed columns with statuses."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from feature_store.domain.as_of import Mode, as_of, outside_age
from feature_store.domain.cells import WindowLayout
from feature_store.domain.keys import key_codes
from feature_store.domain.schema import ARROW_TYPES, INSTANT, Int64s, RowTimes, row_times
from feature_store.domain.spans import span_of
from feature_store.domain.statuses import NOT_FOUND, NULL_VALUE, OUTSIDE_MAX_AGE, PRESENT
from feature_store.domain.window_join import counted_rows, window_join
from shared_features import CalendarWindow, FeatureView, View, WindowView
from shared_features.canonical import view_dtypes

NO_AGE = -1
ROWS_PER_THREAD = 100_000
THREADS = 2
"""Columns gathered side by side; each costs the memory of a column more."""


@dataclass(frozen=True, slots=True)
class JoinedColumn:
    """One feature for n labels."""

    values: pa.Array
    """Of the feature's Arrow type; null unless PRESENT."""
    status: npt.NDArray[np.uint8]
    age_us: Int64s


Joined = dict[str, JoinedColumn]


def times_and_keys(view: View) -> list[str]:
    """The columns that say which row a label sees."""
    names = ["__event_us", "__created_us", "__seq", "__deleted", *view.entity.keys]
    return names if view.source.lag_us is not None else [*names, "__ingested_us"]


def aggregated(view: WindowView | CalendarWindow) -> list[str]:
    """The columns that a windowed view aggregates."""
    return [a.column for a in view.features.values() if a.column is not None]


def join_view(
    view: View, rows: pa.Table, keys: Sequence[pa.Array], label_us: Int64s, mode: Mode
) -> Joined:
    """The features of ``view`` for labels with these key columns at these instants."""
    if isinstance(view, FeatureView):
        times, found = rows_seen(view, rows, keys, label_us, mode)
        return judged(view, rows, times, found, label_us)
    row_codes, label_codes = shared_codes(view, rows, keys)
    return _join_window(view, rows, row_codes, label_codes, label_us, mode)


def shared_codes(view: View, rows: pa.Table, keys: Sequence[pa.Array]) -> tuple[Int64s, Int64s]:
    """Dense codes of rows' and labels' keys in one numbering."""
    columns = []
    for (name, dtype), label in zip(view.entity.keys.items(), keys, strict=True):
        own = rows[name].combine_chunks()
        columns.append(pa.chunked_array([own, label.cast(ARROW_TYPES[dtype])]))
    codes, _ = key_codes(columns)
    return codes[: len(rows)], codes[len(rows) :]


def rows_seen(
    view: FeatureView, rows: pa.Table, keys: Sequence[pa.Array], label_us: Int64s, mode: Mode
) -> tuple[RowTimes, Int64s]:
    """The times of the rows, and the position of the row that each label sees, or −1.

    Takes no feature: ``rows`` may lack them.
    """
    row_codes, label_codes = shared_codes(view, rows, keys)
    times = row_times(rows, view.source.lag_us)
    return times, as_of(row_codes, times, label_codes, label_us, mode)


def judged(
    view: FeatureView, rows: pa.Table, times: RowTimes, found: Int64s, label_us: Int64s
) -> Joined:
    """The features of the row that each label sees (−1: none), by deletion and by age."""
    hit, at = found >= 0, np.maximum(found, 0)
    status = np.full(len(found), NOT_FOUND, np.uint8)
    age = np.full(len(found), NO_AGE, np.int64)
    if len(times):
        hit &= ~times.deleted[at]
        age = np.where(hit, label_us - times.event[at], NO_AGE)
        status[hit] = PRESENT
        old = outside_age(times.event[at], label_us, view.max_age_us)
        status[hit & old] = OUTSIDE_MAX_AGE
    names = list(view.features)
    if len(found) < ROWS_PER_THREAD:
        return {name: take_column(rows[name], at, status, age) for name in names}
    with ThreadPoolExecutor(THREADS) as pool:  # gathering releases the interpreter's lock
        taken = pool.map(lambda name: take_column(rows[name], at, status, age), names)
        return dict(zip(names, taken, strict=True))


def take_column(
    column: pa.ChunkedArray, at: Int64s, status: npt.NDArray[np.uint8], age: Int64s
) -> JoinedColumn:
    """The values at row positions ``at`` where the status is PRESENT; nulls there say so."""
    missing = status != PRESENT
    if not column.null_count and len(column) and _is_number(column.type):
        values = column.to_numpy()[at]
        return JoinedColumn(pa.array(values, mask=missing if missing.any() else None), status, age)
    index = pa.array(at, mask=missing)
    taken = column.combine_chunks().take(index)
    if taken.null_count > index.null_count:
        null = taken.is_null().to_numpy(zero_copy_only=False)
        status = np.where(~missing & null, NULL_VALUE, status).astype(np.uint8)
    return JoinedColumn(taken, status, age)


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _join_window(
    view: WindowView | CalendarWindow,
    rows: pa.Table,
    row_codes: Int64s,
    label_codes: Int64s,
    label_us: Int64s,
    mode: Mode,
) -> Joined:
    layout, span = WindowLayout(view), span_of(view)
    times = row_times(rows, view.source.lag_us)
    packed = layout.rows_of(rows, times)
    counted = counted_rows(span, row_codes, packed, mode)
    answers = window_join(layout, span, view.features, counted, label_codes, label_us)
    dtypes = view_dtypes(view)
    no_age = np.full(len(label_us), NO_AGE, np.int64)
    joined: Joined = {}
    for name, answer in answers.items():
        status = np.where(answer.null, NULL_VALUE, PRESENT).astype(np.uint8)
        joined[name] = JoinedColumn(typed(answer.values, answer.null, dtypes[name]), status, no_age)
    lasts = {n: a.column for n, a in view.features.items() if a.function == "last"}
    if lasts:
        found = as_of(row_codes, times, label_codes, label_us, mode)
        hit, at = found >= 0, np.maximum(found, 0)
        if len(rows):
            hit &= ~times.deleted[at] & (times.event[at] >= span.firsts_us(label_us))
        status = np.where(hit, PRESENT, NULL_VALUE).astype(np.uint8)
        for name, source_column in lasts.items():
            taken = take_column(rows[source_column], at, status, no_age)
            age = no_age
            if len(rows):
                age = np.where(taken.status == PRESENT, label_us - times.event[at], NO_AGE)
            joined[name] = JoinedColumn(taken.values, taken.status, age)
    return {name: joined[name] for name in view.features}


def typed(values: npt.NDArray[Any], null: npt.NDArray[np.bool_], dtype: str) -> pa.Array:
    """int64 or float64 results as the feature's Arrow type."""
    array = pa.array(values, mask=null)
    if dtype == "timestamp":
        return array.cast(INSTANT)
    if dtype == "bool":
        return pc.not_equal(array, 0)
    return array.cast(ARROW_TYPES[dtype], safe=False)


def float_vector(column: JoinedColumn) -> Any:
    """The column as request-time functions take it: float64 with NaN, or objects with None."""
    values = column.values
    if pa.types.is_timestamp(values.type):
        values = values.cast(pa.int64())
    if pa.types.is_boolean(values.type):
        values = values.cast(pa.uint8())
    if pa.types.is_integer(values.type) or pa.types.is_floating(values.type):
        numbers = values.fill_null(0).to_numpy(zero_copy_only=False).astype(np.float64)
        numbers[values.is_null().to_numpy(zero_copy_only=False)] = np.nan
        return numbers
    return np.array([*values.to_pylist(), None], object)[:-1]
