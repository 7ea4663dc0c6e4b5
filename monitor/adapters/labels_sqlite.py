"""Labels and business events in SQLite, joined to predictions as they come."""

import sqlite3
from collections.abc import Sequence

from monitor.adapters.blocks_sqlite import label_key, label_unit
from monitor.adapters.database_sqlite import Database
from monitor.ports import LabelOutcome, Occurrence, Truth

_STORED_BY_KEY = "SELECT id, label, label_us, waiting FROM labels WHERE model = ? AND key = ?"
_STORED_BY_UNIT = (
    "SELECT id, label, label_us, waiting FROM labels "
    "WHERE model = ? AND unit = ? AND predicted_us = ?"
)
_INSERT = (
    "INSERT INTO labels (model, key, unit, predicted_us, label, label_us, received_us, waiting) "
    "VALUES (?,?,?,?,?,?,?,?)"
)


class SqliteLabels:
    """Port ``Labels``."""

    def __init__(self, database: Database, match_us: int, waiting_max: int) -> None:
        self._database = database
        self._match_us = match_us
        self._waiting_max = waiting_max

    def upsert(self, truths: Sequence[Truth], received_us: int) -> list[LabelOutcome]:
        """Idempotent, in one transaction. Beyond the limit of waiting labels: rejected."""
        with self._database.transaction():
            room = self._waiting_max - self.waiting()
            outcomes: list[LabelOutcome] = []
            for truth in truths:
                outcome = self._one(truth, received_us, room > 0)
                room -= outcome == "waiting"
                outcomes.append(outcome)
        return outcomes

    def _one(self, truth: Truth, received_us: int, room: bool) -> LabelOutcome:
        writer = self._database.writer
        key = self._key(truth)
        if key is not None:
            stored = writer.execute(_STORED_BY_KEY, (truth.model, key)).fetchone()
        else:
            names = (truth.model, truth.unit, truth.predicted_us)
            stored = writer.execute(_STORED_BY_UNIT, names).fetchone()
        if stored is not None and (stored[1], stored[2]) == (truth.label, truth.label_us):
            return "unchanged"
        if stored is not None and truth.label_us < stored[2]:
            return "superseded"  # an older truth that comes late does not undo a newer one
        joined = self._join(writer, truth, key)
        if stored is None:
            if not joined and not room:
                return "rejected"
            values = (
                truth.model, key, None if key is not None else truth.unit,
                None if key is not None else truth.predicted_us, truth.label, truth.label_us,
                received_us, int(not joined),
            )  # fmt: skip
            writer.execute(_INSERT, values)
            return "joined" if joined else "waiting"
        writer.execute(
            "UPDATE labels SET label = ?, label_us = ?, received_us = ? WHERE id = ?",
            (truth.label, truth.label_us, received_us, stored[0]),
        )
        return "revised" if stored[1] != truth.label else "unchanged"

    def _join(self, writer: sqlite3.Connection, truth: Truth, key: bytes | None) -> bool:
        if key is not None:
            return label_key(writer, truth.model, key, truth.label, truth.label_us)
        assert truth.predicted_us is not None
        assert truth.unit is not None
        around = truth.predicted_us - self._match_us, truth.predicted_us + self._match_us
        return label_unit(writer, truth.model, truth.unit, around, truth.label, truth.label_us)

    def _key(self, truth: Truth) -> bytes | None:
        """The key; a name that the client gave its request is translated where it is known."""
        if truth.client_id is None:
            return truth.key
        row = truth.row.to_bytes(2, "little")
        found = self._database.writer.execute(
            "SELECT key FROM client_ids WHERE client_id = ?", (truth.client_id,)
        ).fetchall()
        return next((key for (key,) in found if key[16:] == row), truth.key)

    def occur(self, occurrences: Sequence[Occurrence], received_us: int) -> list[bool]:
        """Store business events; False where the event id is known."""
        with self._database.transaction():
            return [
                self._database.writer.execute(
                    "INSERT OR IGNORE INTO business_events VALUES (?,?,?,?,?,?,?,?)",
                    (o.event_id, o.model, o.name, o.value, o.key, o.unit, o.event_us, received_us),
                ).rowcount
                > 0
                for o in occurrences
            ]

    def waiting(self) -> int:
        """Labels whose prediction has not been seen."""
        row = self._database.writer.execute("SELECT count(*) FROM labels WHERE waiting").fetchone()
        return int(row[0])
