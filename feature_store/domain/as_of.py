"""Point in time: which row of its key each label sees. Whole vectors, no loop over keys.

Known mode equals one as-of join on availability over the running maximum of (event, created, seq)
of each key; event mode is the same with the event time in place of the availability.
"""

from dataclasses import replace
from typing import Literal

import numpy as np

from feature_store.domain.schema import Bools, Int64s, RowTimes

Mode = Literal["known", "event"]
INT64_MAX = (1 << 63) - 1
NEVER_US = 1 << 62


def seen_from(times: RowTimes, mode: Mode) -> RowTimes:
    """The times under a mode: in event mode a row may be seen from its event time on."""
    return times if mode == "known" else replace(times, available=times.event)


def composite(
    key: Int64s, time: Int64s, other_key: Int64s, other_time: Int64s
) -> tuple[Int64s, Int64s]:
    """(key, time) pairs of two sides as single int64 that compare as the pairs do; keys >= 0."""
    if not len(time) or not len(other_time):
        return key, other_key
    low = min(int(time.min()), int(other_time.min()))
    high = max(int(time.max()), int(other_time.max()))
    width = high - low + 1
    keys = max(int(key.max()), int(other_key.max())) + 1
    if keys * width <= INT64_MAX:
        return key * width + (time - low), other_key * width + (other_time - low)
    distinct = np.unique(np.concatenate([time, other_time]))
    size = len(distinct)
    return (
        key * size + np.searchsorted(distinct, time),
        other_key * size + np.searchsorted(distinct, other_time),
    )


def last_at_or_before(sorted_rows: Int64s, labels: Int64s) -> Int64s:
    """For each label how many of ``sorted_rows`` are <= it. Labels are asked in sorted order,
    which keeps the search in the processor's cache: four times faster at a million rows."""
    if len(labels) < 4096:
        return np.searchsorted(sorted_rows, labels, side="right")
    order = np.argsort(labels)
    found = np.empty(len(labels), np.int64)
    found[order] = np.searchsorted(sorted_rows, labels[order], side="right")
    return found


def order_ranks(times: RowTimes) -> Int64s:
    """The rank of each row in the total order (event, created, seq)."""
    if _in_order(times):
        return np.arange(len(times))
    ranks = np.empty(len(times), np.int64)
    ranks[np.lexsort((times.seq, times.created, times.event))] = np.arange(len(times))
    return ranks


def _in_order(times: RowTimes) -> bool:
    """Whether the rows stand in their total order already, as those of a live source do."""
    event, created, seq = times.event, times.created, times.seq
    later = event[1:] > event[:-1]
    tied = event[1:] == event[:-1]
    newer = created[1:] > created[:-1]
    newer |= (created[1:] == created[:-1]) & (seq[1:] > seq[:-1])
    return bool(np.all(later | (tied & newer)))


def as_of(
    row_codes: Int64s, times: RowTimes, label_codes: Int64s, label_us: Int64s, mode: Mode
) -> Int64s:
    """The row that each label sees, or −1: the greatest (event, created, seq) seen from <= t.

    Codes are dense key numbers, −1 for a key with a null part, which matches nothing. Deletions
    are rows like others; whoever asks judges them, and the age, afterwards.
    """
    usable = np.flatnonzero(row_codes >= 0)
    found = np.full(len(label_codes), -1, np.int64)
    if not len(usable) or not len(label_codes):
        return found
    codes, shown = row_codes, seen_from(times, mode)
    if len(usable) < len(row_codes):
        codes, shown = codes[usable], shown.take(usable)
    rows, labels = composite(codes, shown.available, np.maximum(label_codes, 0), label_us)
    by_time = np.argsort(rows)
    ranks = order_ranks(shown)
    size = len(ranks)
    best = np.maximum.accumulate(codes[by_time] * size + ranks[by_time]) % size
    by_rank = np.empty(size, np.int64)
    by_rank[ranks] = usable
    winners = by_rank[best]
    rows, codes = rows[by_time], codes[by_time]
    at = last_at_or_before(rows, labels) - 1
    hit = (at >= 0) & (label_codes >= 0)
    hit[hit] = codes[at[hit]] == label_codes[hit]
    found[hit] = winners[at[hit]]
    return found


def deletion_times(row_codes: Int64s, times: RowTimes) -> Int64s:
    """From when on a deletion hides each row: the earliest availability of a greater tombstone."""
    if not times.deleted.any():
        return np.full(len(times), NEVER_US, np.int64)
    size = len(times)
    down = np.lexsort((-order_ranks(times), row_codes))
    moments, rank = np.unique(times.available, return_inverse=True)
    never = len(moments)
    value = np.where(times.deleted, rank, never)[down]
    # keys descend in the base, so that the running minimum begins anew with each key
    base = (int(row_codes.max(initial=0)) - row_codes[down]) * (never + 1)
    least = np.minimum.accumulate(base + value) - base
    hidden = np.empty(size, np.int64)
    hidden[down] = np.append(moments, NEVER_US)[least]
    return hidden


def outside_age(event_us: Int64s, label_us: Int64s, max_age_us: int | None) -> Bools:
    """Whether a row of this event time is too old at t; the bound itself is not."""
    if max_age_us is None:
        return np.zeros(len(event_us), np.bool_)
    return label_us - event_us > max_age_us
