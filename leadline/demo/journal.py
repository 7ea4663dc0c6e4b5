"""How far the replay is, and which answers still wait for their label: kept, so that it resumes."""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

_SCHEMA = """
CREATE TABLE IF NOT EXISTS position (
  id INTEGER PRIMARY KEY CHECK (id = 0), now_us INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS waiting (
  request_id TEXT PRIMARY KEY, landed_us INTEGER NOT NULL, late INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS waiting_landed ON waiting (landed_us);
CREATE TABLE IF NOT EXISTS tally (name TEXT PRIMARY KEY, value REAL NOT NULL) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Waiting:
    """An answered flight that has not landed."""

    request_id: str
    landed_us: int
    late: bool


class Journal:
    """One file; every step of the replay is one transaction."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;" + _SCHEMA)

    def position(self) -> int | None:
        """The last instant that is completely done, or None before the first."""
        row = self._db.execute("SELECT now_us FROM position").fetchone()
        return None if row is None else int(row[0])

    def landed(self, until_us: int) -> list[Waiting]:
        """The answers whose flights have landed by now, in order of landing."""
        rows = self._db.execute(
            "SELECT request_id, landed_us, late FROM waiting WHERE landed_us <= ? "
            "ORDER BY landed_us, request_id",
            (until_us,),
        )
        return [Waiting(name, landed, bool(late)) for name, landed, late in rows]

    def tallies(self) -> dict[str, float]:
        """The running totals of all runs so far."""
        return dict(self._db.execute("SELECT name, value FROM tally"))

    def done(
        self,
        now_us: int,
        asked: Sequence[Waiting],
        labelled: Sequence[Waiting],
        tallies: dict[str, float],
    ) -> None:
        """Everything up to ``now_us`` has happened."""
        self._db.execute("BEGIN")
        self._db.executemany(
            "INSERT OR REPLACE INTO waiting VALUES (?, ?, ?)",
            [(one.request_id, one.landed_us, int(one.late)) for one in asked],
        )
        self._db.executemany(
            "DELETE FROM waiting WHERE request_id = ?", [(one.request_id,) for one in labelled]
        )
        self._db.executemany("INSERT OR REPLACE INTO tally VALUES (?, ?)", tallies.items())
        self._db.execute("INSERT OR REPLACE INTO position VALUES (0, ?)", (now_us,))
        self._db.execute("COMMIT")

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
