"""The one writer of the log that ``log_parquet`` reads; it holds ``<folder>/lock``.

Appending writes frames and syncs; sealing writes the tail's rows as Parquet, atomically by rename,
and only then deletes the tail. Killed in between, rows are in both, and readers skip the tail's
copies: nothing is lost, nothing is twice. Every opening begins a life (``domain.lives``), written
down in ``<folder>/lives``.
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
from feature_store.adapters.log_parquet import ParquetLog
from feature_store.domain.intake import stamp
from feature_store.domain.lives import Life, write_lives
from kit.durable import sync_folder, write_whole
from shared_features import Source

SEAL_BYTES = 32 << 20
DIRECT_ROWS = 20_000
"""A batch of so many rows becomes a Parquet segment at once instead of passing through the tail."""
ROW_GROUP = 128 * 1024


class LogBusy(RuntimeError):
    """Another process writes this log."""


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
