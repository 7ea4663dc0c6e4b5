"""The monitor's one SQLite file: connections, schema, and the one-writer lease."""

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from monitor.adapters import blocks_sqlite
from monitor.adapters.older_sqlite import move_predictions

SCHEMA_VERSION = 2

SCHEMA = """
CREATE TABLE IF NOT EXISTS producers (
  producer TEXT PRIMARY KEY, high INTEGER NOT NULL, holes TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS lanes (
  id INTEGER PRIMARY KEY, model TEXT NOT NULL, version TEXT NOT NULL, variant TEXT NOT NULL,
  rollout_id TEXT NOT NULL, step INTEGER NOT NULL, arm TEXT NOT NULL, policy_id TEXT NOT NULL,
  UNIQUE (model, version, variant, rollout_id, step, arm, policy_id)
);
CREATE TABLE IF NOT EXISTS client_ids (
  client_id TEXT NOT NULL, key BLOB NOT NULL, PRIMARY KEY (client_id, key)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS labels (
  id INTEGER PRIMARY KEY, model TEXT NOT NULL, key BLOB, unit TEXT, predicted_us INTEGER,
  label REAL NOT NULL, label_us INTEGER NOT NULL, received_us INTEGER NOT NULL,
  waiting INTEGER NOT NULL,
  UNIQUE (model, key), UNIQUE (model, unit, predicted_us)
);
CREATE INDEX IF NOT EXISTS labels_waiting ON labels (received_us) WHERE waiting;
CREATE TABLE IF NOT EXISTS business_events (
  event_id TEXT NOT NULL, model TEXT NOT NULL, name TEXT NOT NULL, value REAL NOT NULL,
  key BLOB, unit TEXT, event_us INTEGER NOT NULL, received_us INTEGER NOT NULL,
  PRIMARY KEY (model, event_id)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS business_events_by_time ON business_events (model, name, event_us);
CREATE TABLE IF NOT EXISTS parts (
  name TEXT PRIMARY KEY, model TEXT NOT NULL, version TEXT NOT NULL, rows INTEGER NOT NULL,
  from_us INTEGER NOT NULL, until_us INTEGER NOT NULL, folded INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS parts_by_time ON parts (model, version, from_us);
CREATE TABLE IF NOT EXISTS cells (
  model TEXT NOT NULL, version TEXT NOT NULL, variant TEXT NOT NULL, segment TEXT NOT NULL,
  hour INTEGER NOT NULL, baseline TEXT NOT NULL, integers BLOB NOT NULL, sums BLOB NOT NULL,
  PRIMARY KEY (model, version, variant, segment, hour, baseline)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS volumes (
  model TEXT NOT NULL, version TEXT NOT NULL, variant TEXT NOT NULL, hour INTEGER NOT NULL,
  integers BLOB NOT NULL, sums BLOB NOT NULL, PRIMARY KEY (model, version, variant, hour)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS future_rows (
  model TEXT NOT NULL, version TEXT NOT NULL, rows INTEGER NOT NULL, latest_us INTEGER NOT NULL,
  PRIMARY KEY (model, version)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS windows_done (job TEXT PRIMARY KEY, until_us INTEGER NOT NULL)
WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS runs (
  id TEXT PRIMARY KEY, job TEXT NOT NULL, model TEXT NOT NULL, from_us INTEGER NOT NULL,
  until_us INTEGER NOT NULL, started_us INTEGER NOT NULL, ended_us INTEGER, state TEXT NOT NULL,
  progress REAL NOT NULL, result TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS runs_by_window ON runs (model, job, until_us);
CREATE TABLE IF NOT EXISTS tracks (
  model TEXT NOT NULL, version TEXT NOT NULL, name TEXT NOT NULL, track TEXT NOT NULL,
  PRIMARY KEY (model, version, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS alerts (
  fingerprint TEXT PRIMARY KEY, model TEXT NOT NULL, state TEXT NOT NULL, alert TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS outbox (
  id INTEGER PRIMARY KEY, sink TEXT NOT NULL, notice TEXT NOT NULL, attempts INTEGER NOT NULL,
  due_us INTEGER NOT NULL, next_ns INTEGER NOT NULL, sent INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS outbox_waiting ON outbox (id) WHERE NOT sent;
"""
SCHEMA += blocks_sqlite.SCHEMA


class Database:
    """Two connections: one that writes, one that reads what was committed (WAL)."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None

    def open(self) -> None:
        """Open or create. Raises ``sqlite3.Error`` when the file is not ours."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._writer = self._connect()
        self._writer.executescript(SCHEMA)
        move_predictions(self._writer)
        self._writer.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
        self._reader = self._connect()
        self._reader.execute("PRAGMA query_only=1")

    def _connect(self) -> sqlite3.Connection:
        # One thread at a time uses a connection; which thread, is the executor's business.
        connection = sqlite3.connect(
            self._path, timeout=5.0, isolation_level=None, check_same_thread=False
        )
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")  # what is acknowledged survives a power cut
        connection.execute("PRAGMA cache_size=-65536")
        connection.execute("PRAGMA temp_store=MEMORY")
        return connection

    def close(self) -> None:
        """Close both; open again is allowed."""
        for connection in (self._reader, self._writer):
            if connection is not None:
                connection.close()
        self._writer = self._reader = None

    @property
    def writer(self) -> sqlite3.Connection:
        """For the thread that owns the state."""
        assert self._writer is not None, "the database is not open"
        return self._writer

    @property
    def reader(self) -> sqlite3.Connection:
        """For the thread that answers questions."""
        assert self._reader is not None, "the database is not open"
        return self._reader

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything until the end of the block, or nothing."""
        writer = self.writer
        writer.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            if writer.in_transaction:
                writer.execute("ROLLBACK")
            raise
        writer.execute("COMMIT")


class Lease:
    """Only the holder reads the log and runs jobs. The kernel drops it when the holder dies."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def take(self) -> bool:
        """Try to become, or stay, the holder."""
        if self._descriptor is not None:
            return True
        self._path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        return True

    def drop(self) -> None:
        """Let another process have it."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
