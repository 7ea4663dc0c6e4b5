"""What one micro-batch changes, in one SQLite transaction."""

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256

import numpy as np
import numpy.typing as npt
import orjson

from monitor.adapters.blocks_sqlite import enter
from monitor.adapters.database_sqlite import Database
from monitor.adapters.waiting_sqlite import take_labels
from monitor.domain.blocks import block_of
from monitor.domain.rows import Lane, Rows
from monitor.domain.sequence import Progress
from monitor.domain.tally import Cell, CellKey, Layout, Volume
from monitor.ports import Part


def pack(cell: Cell) -> tuple[bytes, bytes]:
    """Compressed integers and plain sums."""
    return zlib.compress(cell.integers.astype("<i8").tobytes(), 1), cell.sums.astype(
        "<f8"
    ).tobytes()


def unpack(integers: bytes, sums: bytes) -> Cell:
    """The inverse of ``pack``."""
    return Cell(
        np.frombuffer(zlib.decompress(integers), "<i8").astype(np.int64),
        np.frombuffer(sums, "<f8").astype(np.float64),
    )


class SqliteLedger:
    """Port ``Ledger``; every call but ``progress`` happens inside ``transaction``."""

    def __init__(self, database: Database, label_match_us: int) -> None:
        self._database = database
        self._label_match_us = label_match_us
        self._lanes: dict[Lane, int] = {}

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing, durable at its end."""
        known = dict(self._lanes)
        try:
            with self._database.transaction():
                yield
        except BaseException:
            self._lanes = known
            raise

    def empty(self) -> bool:
        """Nothing has ever been applied here."""
        row = self._database.writer.execute("SELECT 1 FROM producers LIMIT 1").fetchone()
        return row is None

    def progress(self, producer: str) -> Progress | None:
        """What has been applied of a producer; None: never seen."""
        row = self._database.writer.execute(
            "SELECT high, holes FROM producers WHERE producer = ?", (producer,)
        ).fetchone()
        if row is None:
            return None
        return Progress(row[0], tuple((first, last) for first, last in orjson.loads(row[1])))

    def save_progress(self, producer: str, progress: Progress) -> None:
        """Remember it."""
        self._database.writer.execute(
            "INSERT INTO producers VALUES (?,?,?) ON CONFLICT (producer) DO UPDATE SET "
            "high = excluded.high, holes = excluded.holes",
            (producer, progress.high, orjson.dumps(progress.holes).decode()),
        )

    def missing(self) -> int:
        """Records that producers numbered and that never came."""
        rows = self._database.writer.execute("SELECT holes FROM producers WHERE holes <> '[]'")
        return sum(last - first + 1 for (holes,) in rows for first, last in orjson.loads(holes))

    def enter(self, rows: Rows, segments: Sequence[str]) -> npt.NDArray[np.bool_]:
        """Index the rows; False where the same request and row is known in this lane."""
        writer = self._database.writer
        fresh, stored = enter(writer, self._lane(rows.lane), block_of(rows, segments))
        if rows.client_ids:
            self._name(rows)
        if writer.execute("SELECT 1 FROM labels WHERE waiting LIMIT 1").fetchone() is not None:
            for number, block in stored:
                take_labels(writer, rows.lane.model, number, block, self._label_match_us)
        return fresh

    def _name(self, rows: Rows) -> None:
        """Clients may name a prediction by their own request id, even before it is seen."""
        keys = rows.keys.tolist()
        named = [(name, key) for name, key in zip(rows.client_ids, keys, strict=True) if name]
        writer = self._database.writer
        writer.executemany("INSERT OR IGNORE INTO client_ids VALUES (?,?)", named)
        if writer.execute("SELECT 1 FROM labels WHERE waiting LIMIT 1").fetchone() is not None:
            writer.executemany(
                "UPDATE OR IGNORE labels SET key = ? WHERE key = ? AND model = ? AND waiting",
                [
                    (key, sha256(name.encode()).digest()[:16] + key[16:], rows.lane.model)
                    for name, key in named
                ],
            )

    def _lane(self, lane: Lane) -> int:
        found = self._lanes.get(lane)
        if found is not None:
            return found
        names = (
            lane.model, lane.version, lane.variant, lane.rollout_id, lane.step, lane.arm,
            lane.policy_id,
        )  # fmt: skip
        writer = self._database.writer
        writer.execute(
            "INSERT OR IGNORE INTO lanes (model, version, variant, rollout_id, step, arm, "
            "policy_id) VALUES (?,?,?,?,?,?,?)",
            names,
        )
        number = writer.execute(
            "SELECT id FROM lanes WHERE model=? AND version=? AND variant=? AND rollout_id=? "
            "AND step=? AND arm=? AND policy_id=?",
            names,
        ).fetchone()[0]
        self._lanes[lane] = int(number)
        return int(number)

    def add_parts(self, parts: Iterable[Part], *, folded: bool) -> None:
        """Parts become part of the truth."""
        self._database.writer.executemany(
            "INSERT INTO parts VALUES (?,?,?,?,?,?,?)",
            [
                (p.name, p.model, p.version, p.rows, p.from_us, p.until_us, int(folded))
                for p in parts
            ],
        )

    def part_names(self) -> set[str]:
        """Every part that a transaction knows."""
        return {name for (name,) in self._database.writer.execute("SELECT name FROM parts")}

    def unfolded(self, model: str, version: str) -> list[str]:
        """Parts stored before their baseline was known."""
        rows = self._database.writer.execute(
            "SELECT name FROM parts WHERE model=? AND version=? AND NOT folded", (model, version)
        )
        return [name for (name,) in rows]

    def unfolded_versions(self) -> list[tuple[str, str, int]]:
        """Versions with rows that wait for a baseline, and how many."""
        return list(
            self._database.writer.execute(
                "SELECT model, version, sum(rows) FROM parts WHERE NOT folded GROUP BY 1, 2"
            )
        )

    def mark_folded(self, name: str) -> None:
        """Its rows are counted now."""
        self._database.writer.execute("UPDATE parts SET folded = 1 WHERE name = ?", (name,))

    def add_cells(self, lane: Lane, layout: Layout, cells: Mapping[CellKey, Cell]) -> None:
        """Add counts to the stored hours."""
        writer = self._database.writer
        for (hour, segment), cell in cells.items():
            key = (lane.model, lane.version, lane.variant, segment, hour, layout.baseline_sha)
            row = writer.execute(
                "SELECT integers, sums FROM cells WHERE model=? AND version=? AND variant=? "
                "AND segment=? AND hour=? AND baseline=?",
                key,
            ).fetchone()
            total = cell if row is None else unpack(*row) + cell
            writer.execute(
                "INSERT OR REPLACE INTO cells VALUES (?,?,?,?,?,?,?,?)", (*key, *pack(total))
            )

    def add_volumes(self, lane: Lane, volumes: Mapping[int, Volume]) -> None:
        """Add volumes to the stored hours."""
        writer = self._database.writer
        for hour, volume in volumes.items():
            key = (lane.model, lane.version, lane.variant, hour)
            row = writer.execute(
                "SELECT integers, sums FROM volumes WHERE model=? AND version=? AND variant=? "
                "AND hour=?",
                key,
            ).fetchone()
            total = volume.cell if row is None else unpack(*row) + volume.cell
            writer.execute(
                "INSERT OR REPLACE INTO volumes VALUES (?,?,?,?,?,?)", (*key, *pack(total))
            )

    def add_future(self, rows: Rows) -> None:
        """Rows dated too far ahead: remembered by number and latest date."""
        self._database.writer.execute(
            "INSERT INTO future_rows VALUES (?,?,?,?) ON CONFLICT (model, version) DO UPDATE SET "
            "rows = rows + excluded.rows, latest_us = max(latest_us, excluded.latest_us)",
            (rows.lane.model, rows.lane.version, len(rows), int(rows.event_us.max())),
        )
