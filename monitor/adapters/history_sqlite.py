"""Questions about what was stored; reads what is committed, never blocks the log."""

from collections.abc import Sequence

import numpy as np

from monitor.adapters.database_sqlite import Database
from monitor.adapters.ledger_sqlite import unpack
from monitor.domain.rows import DAY_US
from monitor.domain.scored import Scored
from monitor.domain.tally import Cell, Volume
from monitor.ports import Seen

_SCORED = """
SELECT p.event_us, p.score, p.predicted, p.label, p.label_us, p.outcome, p.propensity, p.flags,
       p.unit
FROM predictions p JOIN lanes l ON l.id = p.lane
WHERE l.model = ? AND l.version = ? AND l.variant IN ({variants})
AND p.event_us >= ? AND p.event_us < ? {segment} ORDER BY p.event_us
"""


class SqliteHistory:
    """Port ``History``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def seen(self, model: str | None, from_hour: int, until_hour: int) -> list[Seen]:
        """Which versions served in [from_hour, until_hour), with their rows."""
        found: dict[tuple[str, str, str], int] = {}
        for name, version, variant, integers, sums in self._database.reader.execute(
            "SELECT model, version, variant, integers, sums FROM volumes "
            "WHERE hour >= ? AND hour < ? AND (? IS NULL OR model = ?)",
            (from_hour, until_hour, model, model),
        ):
            key = (name, version, variant)
            found[key] = found.get(key, 0) + Volume(unpack(integers, sums)).count("rows")
        return [Seen(*key, rows) for key, rows in sorted(found.items())]

    def models(self) -> list[str]:
        """Every model that was ever served."""
        rows = self._database.reader.execute("SELECT DISTINCT model FROM lanes ORDER BY 1")
        return [model for (model,) in rows]

    def first_hour(self, model: str | None = None) -> int | None:
        """The first hour in which anything was served."""
        row = self._database.reader.execute(
            "SELECT min(hour) FROM volumes WHERE ? IS NULL OR model = ?", (model, model)
        ).fetchone()
        return None if row[0] is None else int(row[0])

    def cell(
        self, model: str, version: str, variants: Sequence[str], from_hour: int, until_hour: int,
        baseline: str, segment: str = "",
    ) -> Cell | None:  # fmt: skip
        """Counts added up over hours and variants; None: nothing counted."""
        marks = ",".join("?" * len(variants))
        rows = self._database.reader.execute(
            # The marks are question marks only.
            "SELECT integers, sums FROM cells WHERE model=? AND version=? "  # noqa: S608
            f"AND variant IN ({marks}) AND segment=? AND hour>=? AND hour<? AND baseline=?",
            (model, version, *variants, segment, from_hour, until_hour, baseline),
        )
        total: Cell | None = None
        for row in rows:
            cell = unpack(*row)
            total = cell if total is None else total + cell
        return total

    def segments(self, model: str, version: str, from_hour: int, until_hour: int) -> list[str]:
        """Segments with counts in the window."""
        rows = self._database.reader.execute(
            "SELECT DISTINCT segment FROM cells WHERE model=? AND version=? AND hour>=? "
            "AND hour<? AND segment <> '' ORDER BY 1",
            (model, version, from_hour, until_hour),
        )
        return [segment for (segment,) in rows]

    def volumes(
        self, model: str, version: str, variants: Sequence[str], from_hour: int, until_hour: int
    ) -> dict[int, Volume]:
        """Volumes by hour, variants added up."""
        marks = ",".join("?" * len(variants))
        found: dict[int, Volume] = {}
        for hour, integers, sums in self._database.reader.execute(
            "SELECT hour, integers, sums FROM volumes WHERE model=? AND version=? "  # noqa: S608
            f"AND variant IN ({marks}) AND hour>=? AND hour<?",
            (model, version, *variants, from_hour, until_hour),
        ):
            volume = Volume(unpack(integers, sums))
            found[hour] = found[hour] + volume if hour in found else volume
        return found

    def scored(
        self, model: str, version: str, variants: Sequence[str], from_us: int, until_us: int,
        segment: str = "",
    ) -> Scored:  # fmt: skip
        """Predictions of the window with their labels, by event time."""
        query = _SCORED.format(
            variants=",".join("?" * len(variants)),
            segment="AND p.segments LIKE ? ESCAPE '\\'" if segment else "",
        )
        like = (f"%|{_escaped(segment)}|%",) if segment else ()
        rows = self._database.reader.execute(
            query, (model, version, *variants, from_us, until_us, *like)
        ).fetchall()
        columns = list(zip(*rows, strict=True)) if rows else [()] * 9
        return Scored(
            at_us=np.array(columns[0], dtype=np.int64),
            score=np.array(columns[1], dtype=np.float64),
            predicted=np.array(columns[2], dtype=np.int64),
            label=np.array(columns[3], dtype=np.float64),
            label_us=np.array([at or 0 for at in columns[4]], dtype=np.int64),
            outcome=np.array(columns[5], dtype=np.int64),
            propensity=np.array(columns[6], dtype=np.float64),
            flags=np.array(columns[7], dtype=np.int64),
            units=np.array(columns[8], dtype=object),
        )

    def part_names(self, model: str, version: str, from_us: int, until_us: int) -> list[str]:
        """Parts with rows in the window (and perhaps others around it)."""
        rows = self._database.reader.execute(
            "SELECT name FROM parts WHERE model=? AND version=? AND from_us<? AND until_us>=? "
            "AND from_us>=? ORDER BY from_us",
            (model, version, until_us, from_us, from_us - 30 * DAY_US),
        )
        return [name for (name,) in rows]


def _escaped(segment: str) -> str:
    return segment.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
