"""The append-only log on disk: Parquet segments named by their rows' positions, and a short tail.

``<folder>/<source>/<first seq>-<last seq>.parquet`` are sealed and never change. The tail is
``<folder>/tail-<first seq>.wal`` (``frames``). Appending writes frames and syncs; sealing writes
the tail's rows as Parquet, atomically by rename, and only then deletes the tail. Killed in between,
rows are in both, and the tail's copies are skipped by position: nothing is lost, nothing is twice.

Readers need no lock and may be other processes; there is one writer, which holds ``<folder>/lock``.
Every opening by the writer begins a life (``domain.lives``), written down in ``<folder>/lives``.
"""

import fcntl
import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from feature_store.adapters.frames import encode_frame, read_frames
from feature_store.domain.intake import stamp
from feature_store.domain.lives import Life, holds, read_lives, write_lives
from feature_store.domain.schema import source_schema
from feature_store.ports import LogParts
from kit.durable import sync_folder, write_whole
from shared_features import Source

SEAL_BYTES = 32 << 20
DIRECT_ROWS = 20_000
"""A batch of so many rows becomes a Parquet segment at once instead of passing through the tail."""
ROW_GROUP = 128 * 1024


class LogBusy(RuntimeError):
    """Another process writes this log."""


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


class LogWriter:
    """The one writer. Opening it takes the lock, mends a torn tail and finds the next position."""

    def __init__(self, folder: Path, *, sync: bool = True) -> None:
        self.reader = ParquetLog(folder)
        self._sync = sync
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise LogBusy(f"another process writes the log in {folder.name}") from None
        if not (folder / "id").exists():
            write_whole(folder / "id", str(secrets.randbits(62)).encode())
        for path in folder.glob("*/*.partial"):
            path.unlink()
        for path in folder.glob("tail-*.wal"):
            _cut_torn_end(path)
        self._next_seq = self.reader.last_seq() + 1
        life = Life(secrets.randbits(62), self._next_seq)
        write_whole(folder / "lives", write_lives([*self.reader.lives(), life]).encode())
        sync_folder(folder)
        self._ingested_us = self._last_ingested_us()
        self._tail_path: Path | None = None
        self._tail_file = -1
        if any(folder.glob("tail-*.wal")):
            self.seal()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the lock back. What was appended is on disk already."""
        self._close_tail()
        os.close(self._lock)

    @property
    def last_seq(self) -> int:
        """Position of the last row appended."""
        return self._next_seq - 1

    def append(self, taken: Sequence[tuple[str, pa.Table]], now_us: int) -> list[tuple[int, int]]:
        """Stamp and write batches, then sync once; the (first, last) positions of each.

        When this returns the rows survive a kill and, with ``sync``, a power failure.
        """
        self._ingested_us = max(self._ingested_us, now_us)
        spans: list[tuple[int, int]] = []
        frames: list[bytes] = []
        for source, table in taken:
            first = self._next_seq
            stamped = stamp(table, first, self._ingested_us)
            self._next_seq += len(stamped)
            spans.append((first, self._next_seq - 1))
            if len(stamped) >= DIRECT_ROWS:
                # a segment says that everything of its source before it is sealed
                self._write(frames)
                self.seal()
                frames = []
                self._seal_rows(source, stamped)
            elif len(stamped):
                frames.append(encode_frame(source, stamped))
        self._write(frames)
        return spans

    def _write(self, frames: Sequence[bytes]) -> None:
        if not frames:
            return
        if self._tail_path is None:
            folder = self.reader.folder
            self._tail_path = folder / f"tail-{self._next_seq:020d}.wal"
            self._tail_file = os.open(
                self._tail_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600
            )
            sync_folder(folder)
        data = b"".join(frames)
        start = os.fstat(self._tail_file).st_size
        try:
            written = os.write(self._tail_file, data)
            while written < len(data):
                written += os.write(self._tail_file, data[written:])
            if self._sync:
                os.fdatasync(self._tail_file)
        except OSError:
            os.ftruncate(self._tail_file, start)  # not acknowledged, so it must not come back
            raise
        if start + len(data) > SEAL_BYTES:
            self.seal()

    def seal(self) -> None:
        """Turn the tail into Parquet segments."""
        self._close_tail()
        paths = sorted(self.reader.folder.glob("tail-*.wal"))
        by_source: dict[str, list[pa.Table]] = {}
        for path in paths:
            for _, source, table in read_frames(path):
                by_source.setdefault(source, []).append(table)
        for source, tables in by_source.items():
            sealed = max((last for _, last, _ in self.reader.segments(source)), default=0)
            rows = pa.concat_tables(tables, promote_options="default")
            self._seal_rows(source, rows.filter(pc.field("__seq") > sealed))
        for path in paths:
            path.unlink()

    def _seal_rows(self, source: str, rows: pa.Table) -> None:
        if not len(rows):
            return
        folder = self.reader.folder / source
        folder.mkdir(exist_ok=True)
        first, last = rows["__seq"][0].as_py(), rows["__seq"][-1].as_py()
        path = folder / f"{first:020d}-{last:020d}.parquet"
        partial = path.with_suffix(".partial")
        with partial.open("wb") as file:
            pq.write_table(
                rows.combine_chunks(),
                file,
                compression="zstd",
                row_group_size=ROW_GROUP,
                # of numbers few repeat; a dictionary would cost reading time for nothing
                use_dictionary=[f.name for f in rows.schema if not _plain(f.type)],
            )
            file.flush()
            if self._sync:
                os.fsync(file.fileno())
        partial.rename(path)
        sync_folder(folder)

    def _close_tail(self) -> None:
        if self._tail_file >= 0:
            os.close(self._tail_file)
        self._tail_path, self._tail_file = None, -1

    def _last_ingested_us(self) -> int:
        last = 0
        for name in self.reader.sources():
            own = Source(name, {})
            columns = self.reader.read_columns(own, ["__ingested_us", "__seq"])
            if len(columns):
                last = max(last, columns["__ingested_us"][-1].as_py())
        return last

    def event_ids(self, limit: int) -> Mapping[str, list[str]]:
        """The event ids of the last rows of each source, newest last."""
        found = {}
        for name in self.reader.sources():
            ids = self.reader.read_columns(Source(name, {}), ["__event_id", "__seq"])
            column = ids["__event_id"].slice(max(0, len(ids) - limit))
            found[name] = column.drop_null().to_pylist()
        return found


def _plain(kind: pa.DataType) -> bool:
    return bool(pa.types.is_primitive(kind) or pa.types.is_nested(kind))


def _cut_torn_end(path: Path) -> None:
    """A frame that a kill left half written was acknowledged to nobody."""
    end = 0
    for frame_end, _, _ in read_frames(path):
        end = frame_end
    if end < path.stat().st_size:
        os.truncate(path, end)
