"""Aggregates of a windowed view for each label: the historical side of ``read_windows``.

A row counts at t from when it is available until it leaves the window or is deleted, so counts and
whole sums are two running sums, over the beginnings and over the ends of these intervals. Float
sums and extremes go over the pairs of label and row, a bounded number at a time.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from feature_store.domain.as_of import (
    Mode,
    composite,
    deletion_times,
    last_at_or_before,
    seen_from,
)
from feature_store.domain.cells import LOW, Raw, WindowLayout
from feature_store.domain.read_windows import Answer, Pieces, aggregate, whole_answer
from feature_store.domain.schema import Int64s, RowTimes
from feature_store.domain.spans import Span
from shared_features import Aggregate

PAIRS_MAX = 400_000


@dataclass(frozen=True, slots=True)
class WindowRows:
    """Rows that may count, and the interval [start, end) in which each does."""

    codes: Int64s
    rows: Raw
    start: Int64s
    end: Int64s


def counted_rows(span: Span, codes: Int64s, rows: Raw, mode: Mode) -> WindowRows:
    """The rows that count at some instant, with the interval in which they do."""
    times = seen_from(
        RowTimes(rows["event"], rows["created"], rows["seq"], rows["available"], rows["deleted"]),
        mode,
    )
    known = codes >= 0
    end = np.minimum(span.ends_us(times.event), deletion_times(np.maximum(codes, 0), times))
    live = known & ~times.deleted & (end > times.available)
    return WindowRows(codes[live], rows[live], times.available[live], end[live])


def window_join(
    layout: WindowLayout,
    span: Span,
    features: Mapping[str, Aggregate],
    counted: WindowRows,
    label_codes: Int64s,
    label_us: Int64s,
) -> dict[str, Answer]:
    """Each aggregate (``last`` excepted) for each label."""
    running = {n: f for n, f in features.items() if _adds_up(layout, f)}
    paired = {n: f for n, f in features.items() if n not in running and f.function != "last"}
    answers = _by_running_sums(layout, running, counted, label_codes, label_us) if running else {}
    if paired:
        answers |= _by_pairs(layout, span, paired, counted, label_codes, label_us)
    return answers


def _adds_up(layout: WindowLayout, feature: Aggregate) -> bool:
    return feature.function == "count" or (
        feature.function in ("sum", "avg") and feature.column not in layout.floats
    )


def _by_running_sums(
    layout: WindowLayout,
    features: Mapping[str, Aggregate],
    counted: WindowRows,
    label_codes: Int64s,
    label_us: Int64s,
) -> dict[str, Answer]:
    asked = np.maximum(label_codes, 0)
    sides: list[tuple[Int64s, Int64s]] = []  # row order and, by label, how many rows came before
    for moment in (counted.start, counted.end):
        rows, labels = composite(counted.codes, moment, asked, label_us)
        order = np.argsort(rows, kind="stable")
        sides.append((order, last_at_or_before(rows[order], labels)))
    known = label_codes >= 0

    def total(values: Int64s) -> Int64s:
        (begun, before), (ended, after) = sides
        # keys sort together, so rows of lesser keys, all begun and all ended, cancel out
        begins = np.concatenate([[0], np.cumsum(values[begun])])[before]
        ends = np.concatenate([[0], np.cumsum(values[ended])])[after]
        return np.where(known, begins - ends, 0)

    answers: dict[str, Answer] = {}
    never = np.zeros(len(label_codes), np.bool_)
    cached: dict[tuple[str, str | None], Int64s] = {}

    def once(part: str, column: str | None) -> Int64s:
        if (part, column) not in cached:
            cached[part, column] = total(_part(layout, counted.rows, part, column))
        return cached[part, column]

    for name, feature in features.items():
        count = once("n", feature.column)
        if feature.function == "count":
            answers[name] = Answer(count, never)
        else:
            hi, lo = once("hi", feature.column), once("lo", feature.column)
            answers[name] = whole_answer(feature.function, hi, lo, count)
    return answers


def _part(layout: WindowLayout, rows: Raw, part: str, column: str | None) -> Int64s:
    if column is None:
        return np.ones(len(rows), np.int64)
    index = layout.names.index(column)
    has = rows[f"has{index}"]
    if part == "n":
        return has.astype(np.int64)
    values = rows[f"v{index}"]
    return np.where(has, values >> 32 if part == "hi" else values & LOW, 0)


def _by_pairs(
    layout: WindowLayout,
    span: Span,
    features: Mapping[str, Aggregate],
    counted: WindowRows,
    label_codes: Int64s,
    label_us: Int64s,
) -> dict[str, Answer]:
    asked = np.maximum(label_codes, 0)
    event = counted.rows["event"]
    # one common scale for rows, the windows' beginnings and the labels
    bounds = np.concatenate([span.firsts_us(label_us), label_us])
    rows, ends = composite(counted.codes, event, np.concatenate([asked, asked]), bounds)
    order = np.argsort(rows, kind="stable")
    size = len(label_us)
    begin = np.searchsorted(rows[order], ends[:size], side="left")
    stop = np.searchsorted(rows[order], ends[size:], side="right")
    length = np.where(label_codes >= 0, np.maximum(stop - begin, 0), 0)
    parts: list[dict[str, Answer]] = []
    for first, last in _chunks(length):
        lengths = length[first:last]
        owner = np.repeat(np.arange(last - first), lengths)
        within = np.arange(len(owner)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        pick = order[np.repeat(begin[first:last], lengths) + within]
        t = label_us[first:last][owner]
        inside = (counted.start[pick] <= t) & (t < counted.end[pick])
        none = np.zeros(0, np.int64)
        pieces = Pieces(
            counted.rows[pick[inside]], owner[inside],
            layout.no_cells, none, np.zeros(0), none, none,
        )  # fmt: skip
        parts.append(aggregate(layout, features, pieces, last - first))
    return {
        name: Answer(
            np.concatenate([part[name].values for part in parts]),
            np.concatenate([part[name].null for part in parts]),
        )
        for name in features
    }


def _chunks(length: Int64s) -> list[tuple[int, int]]:
    """Consecutive label ranges of at most ``PAIRS_MAX`` pairs, or of a single label."""
    if not len(length):
        return [(0, 0)]
    total = np.cumsum(length)
    found, first = [], 0
    while first < len(length):
        spent = int(total[first - 1]) if first else 0
        last = int(np.searchsorted(total, spent + PAIRS_MAX, side="right"))
        last = max(last, first + 1)
        found.append((first, last))
        first = last
    return found
