"""The index of what was served, in SQLite: blocks of rows, and where each request's rows lie.

These are functions on a connection: the same ones write, read, and bring older files up to date.
"""

import sqlite3
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from monitor.domain.blocks import RECORD, Block, Records, Runs, requests_of, runs
from monitor.domain.edges import Floats, Ints
from monitor.domain.rows import HOUR_US, REQUEST_BYTES, Keys

SCHEMA = """
CREATE TABLE IF NOT EXISTS blocks (
  id INTEGER PRIMARY KEY, lane INTEGER NOT NULL, hour INTEGER NOT NULL, from_us INTEGER NOT NULL,
  until_us INTEGER NOT NULL, rows INTEGER NOT NULL, words BLOB NOT NULL, records BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS blocks_by_lane ON blocks (lane, hour, until_us);
CREATE INDEX IF NOT EXISTS blocks_by_hour ON blocks (hour, until_us);
CREATE TABLE IF NOT EXISTS requests (
  request BLOB NOT NULL, lane INTEGER NOT NULL, piece INTEGER NOT NULL, block INTEGER NOT NULL,
  at INTEGER NOT NULL, first_row INTEGER NOT NULL, rows INTEGER NOT NULL,
  PRIMARY KEY (request, lane, piece)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS labelled (
  block INTEGER NOT NULL, at INTEGER NOT NULL, label REAL NOT NULL, label_us INTEGER NOT NULL,
  PRIMARY KEY (block, at)
) WITHOUT ROWID;
"""
_INSERT_RUN = """
INSERT OR IGNORE INTO requests (lane, block, request, piece, at, first_row, rows)
VALUES (?,?,?,?,?,?,?)
"""
# All in one statement, which reads them from two values: one an entry costs 1.6 to 2.6 µs, this
# 0.9. The places come as one number each, so that the list is short.
_PLACES = 10_000_000_000, 100_000, 1
_INSERT_RUNS = """
INSERT OR IGNORE INTO requests (lane, block, request, piece, at, first_row, rows)
SELECT :lane, :block, substr(:requests, 1 + 16 * key, 16), 0,
  value / 10000000000, value / 100000 % 100000, value % 100000 FROM json_each(:places)
"""
FORGOTTEN_AT_A_TIME = 1_000
_LABEL = "INSERT OR REPLACE INTO labelled VALUES (?,?,?,?)"
_LABEL_BY_KEY = """
INSERT OR REPLACE INTO labelled
SELECT r.block, r.at + :row - r.first_row, :label, :label_us
FROM requests r JOIN lanes l ON l.id = r.lane
WHERE r.request = :request AND l.model = :model
AND :row BETWEEN r.first_row AND r.first_row + r.rows - 1
"""
_AROUND = """
SELECT b.id, b.records, b.words FROM lanes l JOIN blocks b ON b.lane = l.id
WHERE l.model = ? AND b.hour BETWEEN ? AND ? AND b.until_us >= ? AND b.from_us <= ?
"""


def enter(
    writer: sqlite3.Connection, lane: int, block: Block
) -> tuple[npt.NDArray[np.bool_], list[tuple[int, Block]]]:
    """Store the rows that this lane does not know yet: which were new [n], and the stored blocks
    by id. A row is known by its request and row number."""
    fresh = np.ones(len(block), dtype=bool)
    hours = block.records["event_us"] // HOUR_US
    stored = []
    for hour in np.unique(hours).tolist():
        of_hour = hours == hour
        part = block.only(of_hour)
        new = _enter_runs(writer, lane, part)
        fresh[of_hour] = new
        part = part.only(new)
        if len(part):
            stored.append((_store(writer, lane, hour, part), part))
    return fresh, stored


def _next_block(writer: sqlite3.Connection) -> int:
    return int(writer.execute("SELECT coalesce(max(id), 0) + 1 FROM blocks").fetchone()[0])


def _store(writer: sqlite3.Connection, lane: int, hour: int, block: Block) -> int:
    records, words = block.pack()
    event_us = block.records["event_us"]
    number = _next_block(writer)
    writer.execute(
        "INSERT INTO blocks VALUES (?,?,?,?,?,?,?,?)",
        (number, lane, hour, int(event_us.min()), int(event_us.max()), len(block), words, records),
    )
    return number


def _enter_runs(writer: sqlite3.Connection, lane: int, block: Block) -> npt.NDArray[np.bool_]:
    """Say where the rows will lie, once the block without the known ones is stored.

    A request's first run has piece 0: where none of them was refused, no request was known. Only
    otherwise is each one looked up.
    """
    keys, number = block.records["key"], _next_block(writer)
    found = runs(keys)
    pieces = _pieces(found, Counter())
    if not pieces.any() or len(set(keys.tolist())) == len(keys):
        writer.execute("SAVEPOINT entering")
        entered = _insert(writer, lane, number, found, pieces)
        if entered < len(found):
            writer.execute("ROLLBACK TO entering")
        writer.execute("RELEASE entering")
        if entered == len(found):
            return np.ones(len(block), dtype=bool)
    fresh, known = _unknown(writer, lane, keys)
    found = runs(keys[fresh])
    _insert(writer, lane, number, found, _pieces(found, known))
    return fresh


def _pieces(found: Runs, known: Counter[bytes]) -> Ints:
    """The piece of its request that each run [n] is, after the ``known`` ones, which it adds to."""
    requests: list[bytes] = found["request"].tolist()
    if not known and len(set(requests)) == len(requests):
        return np.zeros(len(requests), np.int64)
    pieces = []
    for request in requests:
        pieces.append(known[request])
        known[request] += 1
    return np.array(pieces, dtype=np.int64)


def _insert(writer: sqlite3.Connection, lane: int, block: int, found: Runs, pieces: Ints) -> int:
    """Insert what is not there; the number of entries inserted."""
    place = [found[name] for name in ("at", "first_row", "rows")]
    if pieces.any():
        columns = (found["request"].tolist(), pieces.tolist(), *(part.tolist() for part in place))
        entries = zip(*columns, strict=True)
        return writer.executemany(_INSERT_RUN, [(lane, block, *one) for one in entries]).rowcount
    places = sum(unit * part for unit, part in zip(_PLACES, place, strict=True))
    values = {
        "lane": lane, "block": block, "requests": found["request"].tobytes(),
        "places": orjson.dumps(places, option=orjson.OPT_SERIALIZE_NUMPY).decode(),
    }  # fmt: skip
    return writer.execute(_INSERT_RUNS, values).rowcount


def _unknown(
    writer: sqlite3.Connection, lane: int, keys: Keys
) -> tuple[npt.NDArray[np.bool_], Counter[bytes]]:
    """Which keys [n] are new, the first of equal ones being so; and the runs of each request so
    far."""
    seen: set[bytes] = set()
    pieces: Counter[bytes] = Counter()
    for request in dict.fromkeys(requests_of(keys)):
        pieces[request] = 0
        for first, rows in writer.execute(
            "SELECT first_row, rows FROM requests WHERE request = ? AND lane = ?", (request, lane)
        ):
            pieces[request] += 1
            seen.update(request + at.to_bytes(2, "little") for at in range(first, first + rows))
    fresh = []
    for key in keys.tolist():
        fresh.append(key not in seen)
        seen.add(key)
    return np.array(fresh, dtype=bool), pieces


def label_rows(
    writer: sqlite3.Connection, block: int, labels: Iterable[tuple[int, float, int]]
) -> None:
    """Label places of a block: (place, label, label time)."""
    writer.executemany(_LABEL, ((block, *label) for label in labels))


def label_key(
    writer: sqlite3.Connection, model: str, key: bytes, label: float, label_us: int
) -> bool:
    """Label the prediction, and its shadows; False where none is known."""
    values = {
        "request": key[:REQUEST_BYTES], "row": int.from_bytes(key[REQUEST_BYTES:], "little"),
        "model": model, "label": label, "label_us": label_us,
    }  # fmt: skip
    return writer.execute(_LABEL_BY_KEY, values).rowcount > 0


def label_unit(
    writer: sqlite3.Connection, model: str, unit: str, between_us: tuple[int, int],
    label: float, label_us: int,
) -> bool:  # fmt: skip
    """Label what the unit was told in this time, both ends included; False where that is
    nothing."""
    first, last = between_us
    values = (model, first // HOUR_US, last // HOUR_US, first, last)
    found = False
    for number, records, words in writer.execute(_AROUND, values).fetchall():
        block = Block.unpack(records, words)
        event_us = block.records["event_us"]
        places = [
            at
            for at in np.flatnonzero((event_us >= first) & (event_us <= last)).tolist()
            if block.units[at] == unit
        ]
        label_rows(writer, number, [(at, label, label_us) for at in places])
        found = found or bool(places)
    return found


@dataclass(frozen=True, slots=True)
class Stack:
    """The rows of many blocks, in order of arrival; arrays [n]."""

    records: Records
    lane: Ints
    units: list[str]
    segments: list[str]
    label: Floats
    """NaN where there is none."""
    label_us: Ints


def select(reader: sqlite3.Connection, where: str, values: Sequence[Any] | dict[str, Any]) -> Stack:
    """The rows of the blocks ``b`` that meet a condition, with their labels."""
    found = reader.execute(
        # The condition is the caller's constant.
        f"SELECT b.id, b.lane, b.rows, b.records, b.words FROM blocks b WHERE {where} "  # noqa: S608
        "ORDER BY b.id",
        values,
    ).fetchall()
    ids, lanes, counts = (np.array([row[at] for row in found], np.int64) for at in range(3))
    units: list[str] = []
    segments: list[str] = []
    for *_, rows, _, words in found:
        block = Block.unpack(b"", words)
        units += block.units
        segments += block.segments or [""] * rows
    label, label_us = np.full(len(units), np.nan), np.zeros(len(units), np.int64)
    labels = np.array(
        reader.execute(
            "SELECT n.block, n.at, n.label, n.label_us FROM blocks b "  # noqa: S608 - as above
            f"JOIN labelled n ON n.block = b.id WHERE {where}",
            values,
        ).fetchall(),
        dtype=[("block", "i8"), ("at", "i8"), ("label", "f8"), ("label_us", "i8")],
    )
    labels = labels[np.isin(labels["block"], ids)]  # none of a block stored in between
    starts = np.cumsum(counts) - counts
    places = starts[np.searchsorted(ids, labels["block"])] + labels["at"]
    label[places], label_us[places] = labels["label"], labels["label_us"]
    return Stack(
        records=np.frombuffer(b"".join([row[3] for row in found]), RECORD),
        lane=np.repeat(lanes, counts), units=units, segments=segments,
        label=label, label_us=label_us,
    )  # fmt: skip


def forget(writer: sqlite3.Connection, before_us: int) -> None:
    """Let go of blocks that ended before, and of all that names their rows."""
    writer.execute("CREATE TEMP TABLE IF NOT EXISTS gone (key BLOB PRIMARY KEY) WITHOUT ROWID")
    while _forget_some(writer, before_us):
        pass


def _forget_some(writer: sqlite3.Connection, before_us: int) -> int:
    """The oldest, so many at a time that memory stays bounded; how many."""
    old = writer.execute(
        "SELECT id, lane, records FROM blocks WHERE hour <= ? AND until_us < ? "
        "ORDER BY hour LIMIT ?",
        (before_us // HOUR_US, before_us, FORGOTTEN_AT_A_TIME),
    ).fetchall()
    if not old:
        return 0
    for number, lane, records in old:
        keys = np.ascontiguousarray(np.frombuffer(records, RECORD)["key"])
        writer.executemany(
            "DELETE FROM requests WHERE request = ? AND lane = ? AND block = ?",
            [(request, lane, number) for request in dict.fromkeys(requests_of(keys))],
        )
        writer.executemany("INSERT OR IGNORE INTO gone VALUES (?)", [(k,) for k in keys.tolist()])
        writer.execute("DELETE FROM labelled WHERE block = ?", (number,))
        writer.execute("DELETE FROM blocks WHERE id = ?", (number,))
    writer.execute("DELETE FROM client_ids WHERE key IN (SELECT key FROM gone)")
    writer.execute("DELETE FROM gone")
    return len(old)
