"""A file that an older monitor wrote is opened, and says what it said."""

import math
import random
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from monitor.adapters.database_sqlite import SCHEMA, Database
from monitor.adapters.history_sqlite import SqliteHistory
from monitor.adapters.labels_sqlite import SqliteLabels
from monitor.adapters.older_sqlite import move_predictions
from monitor.ports import Truth

_SCHEMA_1 = """
CREATE TABLE predictions (
  id INTEGER PRIMARY KEY, key BLOB NOT NULL, lane INTEGER NOT NULL, event_us INTEGER NOT NULL,
  unit TEXT NOT NULL, score REAL, confidence REAL, predicted INTEGER NOT NULL,
  outcome INTEGER NOT NULL, flags INTEGER NOT NULL, latency_us INTEGER NOT NULL,
  propensity REAL NOT NULL, segments TEXT NOT NULL, label REAL, label_us INTEGER,
  rollout INTEGER NOT NULL, UNIQUE (key, lane)
);
CREATE INDEX predictions_by_time ON predictions (event_us);
CREATE INDEX predictions_by_rollout ON predictions (lane) WHERE rollout;
"""
ROWS = 500
START_US = 1_385_942_400_000_000


@pytest.fixture
def older(tmp_path: Path) -> Path:
    """The index as schema 1 kept it: two lanes, twenty hours, labels on every third row."""
    chance = random.Random(1)
    path = tmp_path / "monitor.sqlite"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript(_SCHEMA_1 + SCHEMA)
        connection.execute("DROP TABLE blocks")
        connection.execute("DROP TABLE requests")
        connection.execute("DROP TABLE labelled")
        for lane in (1, 2):
            connection.execute(
                "INSERT INTO lanes VALUES (?,'delay','2',?,'',0,'','')",
                (lane, ("production", "shadow")[lane - 1]),
            )
        for i in range(ROWS):
            labelled = i % 3 == 0
            connection.execute(
                "INSERT INTO predictions VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
                (
                    i + 1, (i // 4).to_bytes(16, "big") + (i % 4).to_bytes(2, "little"),
                    1 + i % 2, START_US + chance.randrange(20 * 3_600_000_000), f"u{i % 9}",
                    None if i == 7 else i / ROWS, 0.5, i % 2, 4 * (i == 7), i % 8, i, 0.5,
                    f"|origin=A{i % 3}|", float(i % 2) if labelled else None,
                    START_US + i if labelled else None, 0,
                ),
            )  # fmt: skip
        connection.execute("PRAGMA user_version=1")
    return path


def expected(path: Path) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(
            "SELECT event_us, score, predicted, label, coalesce(label_us, 0), outcome, propensity, "
            "flags, unit FROM predictions WHERE lane = 1 ORDER BY event_us"
        ).fetchall()


def told(database: Database, segment: str = "") -> list[tuple[object, ...]]:
    day = START_US, START_US + 86_400_000_000
    found = SqliteHistory(database).scored("delay", "2", ["production"], *day, segment)
    columns = (
        found.at_us, found.score, found.predicted, found.label, found.label_us, found.outcome,
        found.propensity, found.flags, found.units,
    )  # fmt: skip
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return [
        tuple(None if isinstance(v, float) and math.isnan(v) else v for v in row) for row in rows
    ]


def test_an_older_file_says_the_same_once_it_is_opened(older: Path) -> None:
    before = expected(older)
    database = Database(older)
    for _ in range(2):  # opened again, nothing is left to do
        database.open()
        assert told(database) == before
        tables = {n for (n,) in database.reader.execute("SELECT name FROM sqlite_master")}
        assert "predictions" not in tables
        database.close()


def test_rows_of_an_older_file_are_found_by_label_and_segment(older: Path) -> None:
    database = Database(older)
    database.open()
    key = (100).to_bytes(16, "big") + (2).to_bytes(2, "little")
    labels = SqliteLabels(database, 1_000_000, 10)
    assert labels.upsert([Truth("delay", 9.0, START_US, key)], START_US) == ["joined"]
    assert [row[3] for row in told(database)].count(9.0) == 1
    segments = [told(database, f"origin=A{i}") for i in range(3)]
    assert sum(map(len, segments)) == ROWS // 2
    assert told(database, "origin=A") == []
    database.close()


@pytest.mark.parametrize("at_a_time", [1, 7, 499, 500])
def test_killed_at_any_step_the_move_goes_on_where_it_was(older: Path, at_a_time: int) -> None:
    before = expected(older)
    with closing(sqlite3.connect(older, isolation_level=None)) as connection:
        connection.executescript(SCHEMA)
        connection.execute(
            "CREATE TEMP TRIGGER killed BEFORE INSERT ON main.blocks "
            "WHEN (SELECT count(*) FROM main.blocks) >= 5 BEGIN SELECT RAISE(ABORT, 'killed'); END"
        )
        with pytest.raises(sqlite3.IntegrityError, match="killed"):
            move_predictions(connection, at_a_time)
    database = Database(older)
    database.open()
    assert told(database) == before
    ids = database.reader.execute("SELECT sum(rows) FROM requests").fetchone()
    assert ids == (ROWS,)
    database.close()


def test_a_new_file_holds_nothing(tmp_path: Path) -> None:
    database = Database(tmp_path / "monitor.sqlite")
    database.open()
    assert told(database) == []
    np.testing.assert_equal(SqliteHistory(database).models(), [])
    database.close()
