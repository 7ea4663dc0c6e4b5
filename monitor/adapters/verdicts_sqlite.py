"""Runs, alerts, what the judge remembers between windows, and messages not yet sent."""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from typing import Any

import orjson

from monitor.adapters.database_sqlite import Database
from monitor.domain.alerts import Alert, Subject
from monitor.domain.tickets import Track
from monitor.ports import Notice, Posted, Run

_PUT_RUN = """
INSERT INTO runs VALUES (?,?,?,?,?,?,?,?,?,?) ON CONFLICT (id) DO UPDATE SET
ended_us = excluded.ended_us, state = excluded.state, progress = excluded.progress,
result = excluded.result
"""


class SqliteVerdicts:
    """Port ``Verdicts``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def transaction(self) -> AbstractContextManager[None]:
        """All or nothing."""
        return self._database.transaction()

    def done(self, job: str, model: str) -> int | None:
        """The hour where the last finished window of a job ended."""
        row = self._database.writer.execute(
            "SELECT until_us FROM windows_done WHERE job = ?", (f"{job}:{model}",)
        ).fetchone()
        return None if row is None else int(row[0]) // 3_600_000_000

    def put_done(self, job: str, model: str, until_us: int) -> None:
        """This window is finished."""
        self._database.writer.execute(
            "INSERT OR REPLACE INTO windows_done VALUES (?,?)", (f"{job}:{model}", until_us)
        )

    def missing(self) -> int:
        """Records that producers numbered and that never came."""
        rows = self._database.writer.execute("SELECT holes FROM producers WHERE holes <> '[]'")
        return sum(last - first + 1 for (holes,) in rows for first, last in orjson.loads(holes))

    def put_run(self, run: Run) -> None:
        """Remember a run, or how far it is."""
        values = (
            run.id, run.job, run.model, run.from_us, run.until_us, run.started_us, run.ended_us,
            run.state, run.progress, orjson.dumps(run.result).decode(),
        )  # fmt: skip
        self._database.writer.execute(_PUT_RUN, values)

    def run(self, run_id: str) -> Run | None:
        """One run."""
        row = self._database.reader.execute("SELECT * FROM runs WHERE id = ?", (run_id,)).fetchone()
        return None if row is None else _run(row)

    def runs(
        self, model: str, job: str | None, limit: int, until_us: int | None = None
    ) -> list[Run]:
        """The latest runs of a model, newest window first."""
        rows = self._database.reader.execute(
            "SELECT * FROM runs WHERE model = ? AND (? IS NULL OR job = ?) "
            "AND (? IS NULL OR until_us <= ?) ORDER BY until_us DESC, started_us DESC LIMIT ?",
            (model, job, job, until_us, until_us, limit),
        )
        return [_run(row) for row in rows]

    def prune_runs(self, job: str, before_us: int) -> None:
        """Forget old runs of a job."""
        self._database.writer.execute(
            "DELETE FROM runs WHERE job = ? AND until_us < ?", (job, before_us)
        )

    def tracks(self, model: str) -> dict[tuple[str, str], Track]:
        """What the nightly judge remembers, by version and column."""
        rows = self._database.reader.execute(
            "SELECT version, name, track FROM tracks WHERE model = ?", (model,)
        )
        found = {}
        for version, name, kept in rows:
            track = Track()
            values = orjson.loads(kept)
            track.gross.extend(values["gross"])
            track.beyond, track.shape = values["beyond"], values["shape"]
            track.nulls, track.outside = values["nulls"], values.get("outside", 0.0)
            found[version, name] = track
        return found

    def put_tracks(self, model: str, tracks: Mapping[tuple[str, str], Track]) -> None:
        """Remember."""
        self._database.writer.executemany(
            "INSERT OR REPLACE INTO tracks VALUES (?,?,?,?)",
            [
                (
                    model, version, name,
                    orjson.dumps(
                        {
                            "gross": list(track.gross), "beyond": track.beyond,
                            "shape": track.shape, "nulls": track.nulls,
                            "outside": track.outside,
                        }
                    ).decode(),
                )
                for (version, name), track in tracks.items()
            ],
        )  # fmt: skip

    def alerts(self) -> list[Alert]:
        """Every alert with a memory."""
        return _alerts(self._database.writer)

    def read_alerts(self) -> list[Alert]:
        """The same, as last committed."""
        return _alerts(self._database.reader)

    def put_alerts(self, alerts: Iterable[Alert]) -> None:
        """Alerts with nothing to remember are forgotten."""
        for alert in alerts:
            name = alert.subject.fingerprint
            if alert.state == "OK" and not any(alert.breaches) and not alert.silenced_until_us:
                self._database.writer.execute("DELETE FROM alerts WHERE fingerprint=?", (name,))
                continue
            self._database.writer.execute(
                "INSERT OR REPLACE INTO alerts VALUES (?,?,?,?)",
                (name, alert.subject.model, alert.state, orjson.dumps(asdict(alert)).decode()),
            )

    def told_since(self, model: str, since_us: int) -> int:
        """Tickets told of a model in windows that ended since then."""
        row = self._database.writer.execute(
            "SELECT count(DISTINCT notice) FROM outbox WHERE due_us >= ? AND notice LIKE ?",
            (since_us, f'%"group":"{model}/ticket/%'),
        ).fetchone()
        return int(row[0])

    def post(self, notices: Sequence[Notice], sinks: Sequence[str], at_us: int) -> None:
        """Put messages into the outbox of each sink."""
        self._database.writer.executemany(
            "INSERT INTO outbox (sink, notice, attempts, due_us, next_ns) VALUES (?,?,0,?,0)",
            [
                (sink, orjson.dumps(asdict(notice)).decode(), at_us)
                for notice in notices
                for sink in sinks
            ],
        )

    def posted(self, limit: int) -> list[Posted]:
        """Messages not yet sent, oldest first, at most ``limit`` of a sink."""
        rows = self._database.writer.execute(
            "SELECT id, sink, notice, attempts FROM (SELECT *, row_number() OVER "
            "(PARTITION BY sink ORDER BY id) AS place FROM outbox WHERE NOT sent) "
            "WHERE place <= ? ORDER BY id",
            (limit,),
        )
        return [
            Posted(number, sink, _notice(orjson.loads(notice)), attempts)
            for number, sink, notice, attempts in rows
        ]

    def sent(self, number: int, *, ok: bool, attempts_max: int) -> None:
        """A message was taken, or tried once more; after ``attempts_max`` it is given up."""
        self._database.writer.execute(
            "UPDATE outbox SET attempts = attempts + 1, sent = (? OR attempts + 1 >= ?) "
            "WHERE id = ?",
            (int(ok), attempts_max, number),
        )
        self._database.writer.execute(
            "DELETE FROM outbox WHERE sent AND id < (SELECT max(id) FROM outbox) - 5000"
        )


def _alerts(connection: sqlite3.Connection) -> list[Alert]:
    rows = connection.execute("SELECT alert FROM alerts ORDER BY fingerprint")
    found = []
    for (kept,) in rows:
        values = orjson.loads(kept)
        values["subject"] = Subject(**values["subject"])
        values["breaches"], values["turns"] = tuple(values["breaches"]), tuple(values["turns"])
        found.append(Alert(**values))
    return found


def _notice(values: dict[str, Any]) -> Notice:
    values["alerts"] = tuple(values["alerts"])
    return Notice(**values)


def _run(row: tuple[Any, ...]) -> Run:
    values: list[Any] = [*row[:9], orjson.loads(row[9])]
    return Run(*values)
