"""What the monitor holds: rows on disk, in the counts, in the index."""

from monitor.adapters.baselines_registry import RegistryBaselines
from monitor.adapters.database_sqlite import Database
from monitor.adapters.history_sqlite import SqliteHistory
from monitor.adapters.parts_parquet import ParquetParts
from monitor.observe import Observe
from tests.monitor.world import HOUR_US, MODEL, NOW_US, VERSION

HOUR = NOW_US // HOUR_US


def stored_rows(database: Database, parts: ParquetParts) -> int:
    names = [name for (name,) in database.reader.execute("SELECT name FROM parts")]
    return sum(len(rows) for name in names for rows in parts.read(name))


def counted_rows(history: SqliteHistory, baselines: RegistryBaselines) -> int:
    layout = baselines.known(MODEL, VERSION).layout
    assert layout is not None
    cell = history.cell(MODEL, VERSION, ["production"], HOUR - 48, HOUR + 48, layout.baseline_sha)
    return 0 if cell is None else layout.column(cell, "distance").fact("rows")


def indexed_rows(database: Database) -> int:
    return int(database.reader.execute("SELECT coalesce(sum(rows), 0) FROM blocks").fetchone()[0])


async def drain(observe: Observe) -> None:
    idle = 0
    while idle < 3:
        idle = 0 if await observe.step() else idle + 1
