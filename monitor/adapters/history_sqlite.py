"""Questions about what was stored; reads what is committed, never blocks the log."""

from collections.abc import Sequence

import numpy as np

from monitor.adapters.blocks_sqlite import select
from monitor.adapters.database_sqlite import Database
from monitor.adapters.ledger_sqlite import unpack
from monitor.domain.rows import DAY_US, HOUR_US
from monitor.domain.scored import Scored
from monitor.domain.tally import Cell, Volume
from monitor.ports import Seen

_SCORED = """
b.lane IN (SELECT id FROM lanes WHERE model = ? AND version = ? AND variant IN ({variants}))
AND b.hour BETWEEN ? AND ? AND b.until_us >= ? AND b.from_us < ?
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
        where = _SCORED.format(variants=",".join("?" * len(variants)))
        hours = from_us // HOUR_US, until_us // HOUR_US
        values = (model, version, *variants, *hours, from_us, until_us)
        rows = select(self._database.reader, where, values)
        at_us = rows.records["event_us"]
        kept = (at_us >= from_us) & (at_us < until_us)
        if segment:
            kept &= np.array([f"|{segment}|" in joined for joined in rows.segments], dtype=bool)
        at = np.flatnonzero(kept)
        at = at[np.argsort(at_us[at], kind="stable")]
        records = rows.records[at]
        return Scored(
            at_us=records["event_us"].astype(np.int64),
            score=records["score"].astype(np.float64),
            predicted=records["predicted"].astype(np.int64),
            label=rows.label[at],
            label_us=rows.label_us[at],
            outcome=records["outcome"].astype(np.int64),
            propensity=records["propensity"].astype(np.float64),
            flags=records["flags"].astype(np.int64),
            units=np.array(rows.units, dtype=object)[at],
        )

    def part_names(self, model: str, version: str, from_us: int, until_us: int) -> list[str]:
        """Parts with rows in the window (and perhaps others around it)."""
        rows = self._database.reader.execute(
            "SELECT name FROM parts WHERE model=? AND version=? AND from_us<? AND until_us>=? "
            "AND from_us>=? ORDER BY from_us",
            (model, version, until_us, from_us, from_us - 30 * DAY_US),
        )
        return [name for (name,) in rows]
