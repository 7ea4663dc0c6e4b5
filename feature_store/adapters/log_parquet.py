"""The append-only log on disk: Parquet segments named by their rows' positions, and a short tail.

``<folder>/<source>/<first seq>-<last seq>.parquet`` are sealed and never change. The tail is
``<folder>/tail-<first seq>.wal`` (``frames``). Rows that are just being sealed are in both; the
tail's copies are skipped by position.

Readers need no lock and may be other processes than the writer (``log_writer_parquet``).
"""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from feature_store.adapters.frames import read_frames
from feature_store.domain.lives import Life, holds, read_lives
from feature_store.domain.schema import source_schema
from feature_store.ports import LogParts
from shared_features import Source


class TornSegment(RuntimeError):
    """A sealed segment cannot be read; the message names it and how to go on."""


class ParquetLog:
    """Reads the log. Sealed segments are cached in memory once read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._columns: dict[Path, dict[str, pa.ChunkedArray]] = {}
        self._tail: dict[Path, tuple[int, list[tuple[str, pa.Table]]]] = {}

    def segments(self, source: str) -> list[tuple[int, int, Path]]:
        """(first seq, last seq, path) of the sealed segments of a source, in order."""
        found = []
        for path in (self.folder / source).glob("*.parquet"):
            first, _, last = path.stem.partition("-")
            if first.isdigit() and last.isdigit():
                found.append((int(first), int(last), path))
        return sorted(found)

    def tail(self) -> list[tuple[str, pa.Table]]:
        """The frames that are not sealed, in order; a frame half written is not there yet."""
        frames: list[tuple[str, pa.Table]] = []
        present = sorted(self.folder.glob("tail-*.wal"))
        for path in present:
            offset, known = self._tail.get(path, (0, []))
            try:
                for end, source, table in read_frames(path, offset):
                    offset = end
                    known = [*known, (source, table)]  # readers may hold the old list
            except FileNotFoundError:
                continue  # sealed meanwhile
            self._tail[path] = (offset, known)
            frames += known
        for gone in set(self._tail) - set(present):
            self._tail.pop(gone, None)  # another thread may have been here
        return frames

    def sources(self) -> list[str]:
        """The names of the sources that have rows."""
        names = {path.parent.name for path in self.folder.glob("*/*.parquet")}
        return sorted(names | {source for source, _ in self.tail()})

    def log_id(self) -> int:
        """A number that no other log has: drawn when the log was begun."""
        return int((self.folder / "id").read_text())

    def life(self) -> int:
        """The life it leads: since the writer opened it last."""
        return self.lives()[-1].id

    def lives(self) -> list[Life]:
        """Every life that is remembered, the present one last."""
        try:
            return read_lives((self.folder / "lives").read_text())
        except FileNotFoundError:  # never opened since lives are written down
            return []

    def holds(self, life_id: int, seq: int) -> bool:
        """Whether everything up to ``seq`` is what was there in that life."""
        return holds(self.lives(), life_id, seq, self.last_seq())

    def last_seq(self) -> int:
        """Position of the last row; 0 when there is none."""
        tail = self.tail()  # before the segments: a frame sealed in between is then in both
        lasts = [last for source in self._folders() for _, last, _ in self.segments(source)]
        lasts += [table["__seq"][-1].as_py() for _, table in tail[-1:] if len(table)]
        return max(lasts, default=0)

    def _folders(self) -> list[str]:
        if not self.folder.is_dir():
            return []
        return [path.name for path in self.folder.iterdir() if path.is_dir()]

    def parts(self, source: Source) -> LogParts:
        """The sealed segments, and the rows of the tail."""
        tail = self.tail()
        segments = self.segments(source.name)
        sealed = max((last for _, last, _ in segments), default=0)
        schema = source_schema(source)
        rows = [
            _fitted(table.filter(pc.field("__seq") > sealed), schema)
            for name, table in tail
            if name == source.name
        ]
        rest = pa.concat_tables(rows) if rows else schema.empty_table()
        return LogParts([path for _, _, path in segments], rest)

    def bytes_of(self, source: Source) -> int:
        """Uncompressed size of the sealed segments, by their footers."""
        total = 0
        for _, _, path in self.segments(source.name):
            footer = pq.read_metadata(path)
            total += sum(footer.row_group(i).total_byte_size for i in range(footer.num_row_groups))
        return total

    def read(self, source: Source, after_seq: int = 0, up_to_seq: int | None = None) -> pa.Table:
        """Rows with ``after_seq < seq <= up_to_seq``, in order of seq."""
        return self.read_columns(source, source_schema(source).names, after_seq, up_to_seq)

    def read_columns(
        self,
        source: Source,
        columns: Sequence[str],
        after_seq: int = 0,
        up_to_seq: int | None = None,
    ) -> pa.Table:
        """As ``read``, only these columns."""
        schema = source_schema(source)
        wanted = pa.schema([schema.field(name) for name in columns])
        tail = self.tail()
        parts, sealed = [], 0
        for first, last, path in self.segments(source.name):
            sealed = max(sealed, last)
            if last > after_seq and (up_to_seq is None or first <= up_to_seq):
                parts.append(_fitted(self._segment(path, columns), wanted))
        for table in _frames_after(tail, source.name, after_seq):
            overlaps = table["__seq"][0].as_py() <= sealed  # sealed while this was read
            rows = table.filter(pc.field("__seq") > sealed) if overlaps else table
            parts.append(_fitted(rows, wanted))
        whole = pa.concat_tables(parts) if parts else wanted.empty_table()
        return _between(whole, after_seq, up_to_seq)

    def _segment(self, path: Path, columns: Sequence[str]) -> pa.Table:
        """Those of the columns that the segment has; read once and kept."""
        known = self._columns.setdefault(path, {})
        lacking = [name for name in columns if name not in known]
        if lacking:
            try:
                with pq.ParquetFile(path, memory_map=True) as file:
                    present = set(file.schema_arrow.names)
                    found = file.read([name for name in lacking if name in present])
            except (pa.ArrowInvalid, OSError) as error:
                raise TornSegment(
                    f"the log segment {path.parent.name}/{path.name} cannot be read; restore it "
                    "from a copy: its rows are in no other place"
                ) from error
            known.update(zip(found.column_names, found.columns, strict=True))
        return pa.table({name: known[name] for name in columns if name in known})


def _frames_after(
    tail: Sequence[tuple[str, pa.Table]], source: str, after_seq: int
) -> list[pa.Table]:
    """The source's frames with a row after that position, in order.

    Looked for from the end: the tail may hold ten thousand frames, and what is read is the last.
    """
    found = []
    for name, table in reversed(tail):
        if not len(table):
            continue
        if table["__seq"][-1].as_py() <= after_seq:
            break
        if name == source:
            found.append(table)
    return found[::-1]


def _fitted(table: pa.Table, wanted: pa.Schema) -> pa.Table:
    """The columns of ``wanted``; one that the source got later is null in older rows."""
    arrays = [
        _cast(table[field.name], field.type)
        if field.name in table.column_names
        else pa.chunked_array([pa.nulls(len(table), field.type)])
        for field in wanted
    ]
    return pa.Table.from_arrays(arrays, schema=wanted)


def _cast(column: pa.ChunkedArray, wanted: pa.DataType) -> pa.ChunkedArray:
    return column if column.type == wanted else column.cast(wanted)


def _between(table: pa.Table, after_seq: int, up_to_seq: int | None) -> pa.Table:
    """Rows in the interval; the table is in order of seq, so it is one slice."""
    if not len(table) or "__seq" not in table.column_names:
        return table
    seq = table["__seq"].to_numpy()
    begin = int(seq.searchsorted(after_seq, side="right"))
    end = len(seq) if up_to_seq is None else int(seq.searchsorted(up_to_seq, side="right"))
    return table.slice(begin, end - begin)
