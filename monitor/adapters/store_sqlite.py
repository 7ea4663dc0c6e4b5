"""Which parts there are to join or to let go."""

from collections.abc import Sequence

from monitor.adapters.blocks_sqlite import forget
from monitor.adapters.database_sqlite import Database
from monitor.domain.rows import DAY_US, HOUR_US
from monitor.ports import Part


class SqliteStore:
    """Port ``Store``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def crowded(
        self, before_us: int, parts_min: int, parts_max: int, rows_max: int
    ) -> list[list[Part]]:
        """Counted parts of one version that ended before, of one day, or of one hour where the day
        has not ended; where there are ``parts_min`` or more, in order of arrival: at most
        ``parts_max``, with at most ``rows_max`` rows."""
        rows = self._database.writer.execute(
            "SELECT name, model, version, rows, from_us, until_us FROM parts "
            "WHERE folded AND until_us < ? ORDER BY model, version, from_us, name",
            (before_us,),
        )
        today_us = before_us // DAY_US * DAY_US
        spans: dict[tuple[str, str, int, int], tuple[list[Part], list[int]]] = {}
        for row in rows:
            part = Part(*row)
            span_us = HOUR_US if part.from_us >= today_us else DAY_US
            key = (part.model, part.version, span_us, part.from_us // span_us)
            group, held = spans.setdefault(key, ([], [0]))
            if len(group) < parts_max and held[0] + part.rows <= rows_max:
                group.append(part)
                held[0] += part.rows
        return [group for group, _ in spans.values() if len(group) >= parts_min]

    def swap(self, old: Sequence[Part], new: Sequence[Part]) -> None:
        """The new parts hold what the old ones held."""
        with self._database.transaction():
            writer = self._database.writer
            writer.executemany("DELETE FROM parts WHERE name = ?", [(part.name,) for part in old])
            writer.executemany(
                "INSERT INTO parts VALUES (?,?,?,?,?,?,1)",
                [(p.name, p.model, p.version, p.rows, p.from_us, p.until_us) for p in new],
            )

    def forget(self, before_us: int) -> list[str]:
        """Let go of predictions, labels, counts and parts from before; the parts' names."""
        with self._database.transaction():
            writer = self._database.writer
            hour = before_us // 3_600_000_000
            forget(writer, before_us)
            writer.execute("DELETE FROM labels WHERE label_us < ?", (before_us,))
            writer.execute("DELETE FROM business_events WHERE event_us < ?", (before_us,))
            writer.execute("DELETE FROM cells WHERE hour < ?", (hour,))
            writer.execute("DELETE FROM volumes WHERE hour < ?", (hour,))
            names = [
                name
                for (name,) in writer.execute(
                    "SELECT name FROM parts WHERE until_us < ?", (before_us,)
                )
            ]
            writer.executemany("DELETE FROM parts WHERE name = ?", [(name,) for name in names])
        return names
