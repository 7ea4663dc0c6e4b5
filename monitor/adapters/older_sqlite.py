"""Brings the file of an older monitor up to date."""

import sqlite3
from itertools import count, groupby
from typing import Any

import numpy as np

from monitor.adapters.blocks_sqlite import enter, label_rows
from monitor.domain.blocks import RECORD, Block
from monitor.domain.rows import HOUR_US

ROWS_AT_A_TIME = 50_000
_NAMES = (
    "id", "lane", "event_us", "key", "unit", "segments", "label", "label_us", "score", "predicted",
    "latency_us", "propensity", "outcome", "flags",
)  # fmt: skip
_SOME = f"SELECT {','.join(_NAMES)} FROM predictions ORDER BY id LIMIT ?"  # noqa: S608 - constants


def move_predictions(writer: sqlite3.Connection, rows_at_a_time: int = ROWS_AT_A_TIME) -> None:
    """Schema 1 kept a table row for each prediction: make blocks of them. Killed at any time, the
    next start goes on; each transaction moves some rows from the one to the other."""
    older = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'predictions'"
    if writer.execute(older).fetchone() is None:
        return
    while True:
        writer.execute("BEGIN IMMEDIATE")
        moved = _move_some(writer, rows_at_a_time)
        if not moved:
            writer.execute("DROP TABLE predictions")
        writer.execute("COMMIT")
        if not moved:
            return


def _move_some(writer: sqlite3.Connection, rows_at_a_time: int) -> int:
    found = writer.execute(_SOME, (rows_at_a_time,)).fetchall()
    if not found:
        return 0
    # An hour of a lane at a time is one block, whose places are those of its rows.
    last = found[-1][0]
    found.sort(key=_lane_and_hour)
    for (lane, _), group in groupby(found, key=_lane_and_hour):
        _move(writer, lane, list(group))
    writer.execute("DELETE FROM predictions WHERE id <= ?", (last,))
    return len(found)


def _lane_and_hour(row: tuple[Any, ...]) -> tuple[int, int]:
    return row[1], row[2] // HOUR_US


def _move(writer: sqlite3.Connection, lane: int, rows: list[tuple[Any, ...]]) -> None:
    columns = dict(zip(_NAMES, zip(*rows, strict=True), strict=True))
    records = np.empty(len(rows), RECORD)
    records["key"] = np.frombuffer(b"".join(columns["key"]), RECORD["key"])
    records["score"] = np.array(columns["score"], np.float64)  # a NaN was stored as null
    for name in ("event_us", "predicted", "latency_us", "propensity", "outcome", "flags"):
        records[name] = columns[name]
    segments = columns["segments"] if any(columns["segments"]) else ()
    ((number, _),) = enter(writer, lane, Block(records, columns["unit"], segments))[1]
    labels = zip(count(), columns["label"], columns["label_us"])
    label_rows(writer, number, [label for label in labels if label[1] is not None])
