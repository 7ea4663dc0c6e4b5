"""The spool: served events on disk, in segments, until the stream has them durably."""

import errno
import os
import struct
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from uuid import uuid4

from crc32c import crc32c

from inference.domain.spool_record import (
    SpoolPlace,
    SpoolRecord,
    name_at,
    next_record,
    pack_record,
    records_in,
)
from kit.logs import get_logger

_log = get_logger(__name__)
SEGMENT_BYTES = 32 * 1024 * 1024
_NAME_BYTES_MAX = 300
_CURSOR = "cursor"
_PLACE = struct.Struct("<QQ")
_SUM = struct.Struct("<I")


class FileSpool:
    """Appends on the event loop: one ``write`` a batch, into the page cache (15 µs), which a
    killed process does not lose; ``sync`` makes it survive a power cut.

    Each process start is a new producer whose sequence starts at 1. A record that cannot be kept
    (spool full, disk full) still uses up its number: the gap tells the reader exactly how many are
    gone. A torn tail, left by a kill in mid-write, is cut off at the next start.
    """

    def __init__(self, folder: Path, *, replica: str, bytes_max: int) -> None:
        self._folder = folder
        self._bytes_max = bytes_max
        self.producer = f"{replica}-{uuid4().hex[:12]}"
        self._producer = self.producer.encode()
        self._seq = 0
        self._file = -1
        self._cursor_file = -1
        self._reading = (0, -1)
        self._end = SpoolPlace(0, 0)
        self._sizes: dict[int, int] = {}
        self._unsynced = False
        self._full: deque[int] = deque()
        """Segments that are not synced yet."""
        self._failed = False
        self.cursor = SpoolPlace(0, 0)
        """What lies before is durable elsewhere."""
        self.records = 0
        self.rows_dropped = 0
        self.records_dropped = 0

    def open(self) -> None:
        """Find what an earlier process left and go on behind it; blocking."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for path in self._folder.glob("*.seg"):
            self._sizes[int(path.stem)] = path.stat().st_size
        last = max(self._sizes, default=0)
        if last:
            self._cut_torn_tail(last)
        self.cursor = self._read_cursor()
        self._next_segment(last + 1)

    def _cut_torn_tail(self, segment: int) -> None:
        path = self._path(segment)
        data = path.read_bytes()
        name, sound = name_at(data), _sound_bytes(data)
        while (start := next_record(data, sound + 1, name)) is not None:
            sound = start + _sound_bytes(data[start:])  # rot in the middle is no torn tail
        if sound < self._sizes[segment]:
            _log.warning("spool_torn_tail_cut", bytes=self._sizes[segment] - sound)
            os.truncate(path, sound)
            self._sizes[segment] = sound

    def _read_cursor(self) -> SpoolPlace:
        first = SpoolPlace(min(self._sizes, default=1), 0)
        self._cursor_file = os.open(self._folder / _CURSOR, os.O_RDWR | os.O_CREAT, 0o600)
        data = os.pread(self._cursor_file, _PLACE.size + _SUM.size, 0)
        place, checksum = data[: _PLACE.size], data[_PLACE.size :]
        if len(checksum) != _SUM.size or _SUM.pack(crc32c(place)) != checksum:
            return first
        return max(first, SpoolPlace(*_PLACE.unpack(place)))

    def _path(self, segment: int) -> Path:
        return self._folder / f"{segment:010d}.seg"

    def _next_segment(self, segment: int) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        fresh = os.open(self._path(segment), flags, 0o600)  # first: it may fail, and then we go on
        before, self._file = self._file, fresh
        if before >= 0:
            self._full.append(before)
        self._end = SpoolPlace(segment, 0)
        self._sizes[segment] = 0

    @property
    def bytes_waiting(self) -> int:
        """Bytes on disk that are not durable elsewhere."""
        return sum(self._sizes.values()) - self.cursor.offset

    @property
    def end(self) -> SpoolPlace:
        """Behind the last record."""
        return self._end

    def append(self, payload: bytes, rows: int) -> None:
        """Keep one record of that many rows; on return a killed process does not lose it."""
        self._seq += 1
        record = pack_record(self._producer, self._seq, payload)
        if self.bytes_waiting + len(record) > self._bytes_max or not self._write(record):
            self.records_dropped += 1
            self.rows_dropped += rows
            return
        self.records += 1
        self._unsynced = True
        if self._end.offset >= SEGMENT_BYTES:
            self._turn_over()

    def _turn_over(self) -> None:
        """Begin the next segment; where the disk refuses it, this one goes on growing."""
        try:
            self._next_segment(self._end.segment + 1)
        except OSError as refused:
            self._tell(refused)

    def _write(self, record: bytes) -> bool:
        try:
            written = os.write(self._file, record)
            if written < len(record):
                os.ftruncate(self._file, self._end.offset)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as refused:
            self._tell(refused)
            return False
        self._failed = False
        self._end = SpoolPlace(self._end.segment, self._end.offset + written)
        self._sizes[self._end.segment] = self._end.offset
        return True

    def _tell(self, refused: OSError) -> None:
        if not self._failed:  # once a spell: this may happen on every batch
            _log.error("spool_write_failed", reason=refused.strerror)
        self._failed = True

    def read(self, place: SpoolPlace, bytes_max: int) -> tuple[Sequence[SpoolRecord], SpoolPlace]:
        """Records from ``place`` on, at least one if there is one, and the place behind them."""
        while place.segment < self._end.segment and place.offset >= self._sizes.get(
            place.segment, 0
        ):
            place = SpoolPlace(place.segment + 1, 0)
        if place >= self._end:
            return (), place
        size, file = self._sizes[place.segment], self._open_segment(place.segment)
        records = list(
            records_in(os.pread(file, min(bytes_max, size - place.offset), place.offset))
        )
        if not records and bytes_max < size - place.offset:
            records = list(records_in(os.pread(file, size - place.offset, place.offset)))[:1]
        if not records:
            return (), self._behind_rot(file, place, size)
        return records, SpoolPlace(place.segment, place.offset + records[-1].end)

    def _behind_rot(self, file: int, place: SpoolPlace, size: int) -> SpoolPlace:
        """Where the next sound record is; the reader sees what lies between as a gap."""
        rest = os.pread(file, size - place.offset, place.offset)
        found = next_record(rest, 1, name_at(os.pread(file, _NAME_BYTES_MAX, 0)))
        lost = len(rest) if found is None else found
        _log.error(
            "spool_segment_unreadable", segment=place.segment, offset=place.offset, bytes=lost
        )
        return SpoolPlace(place.segment, place.offset + lost)

    def _open_segment(self, segment: int) -> int:
        """A descriptor for reading it, kept until another segment is read."""
        known, file = self._reading
        if known != segment:
            if file >= 0:
                os.close(file)
            file = os.open(self._path(segment), os.O_RDONLY)
            self._reading = (segment, file)
        return file

    def release(self, place: SpoolPlace) -> None:
        """What lies before ``place`` is durable elsewhere: forget it."""
        self.cursor = max(self.cursor, place)
        if self._failed and self.cursor == self._end and self._end.offset:
            # Perhaps the disk is full of this very segment, and it would never grow to its end.
            self._turn_over()
            self.cursor = self._end
        packed = _PLACE.pack(self.cursor.segment, self.cursor.offset)
        # In place: renaming a new file here costs the event loop 5 ms on a busy disk. A torn write
        # fails its checksum, and then everything is shipped again, which is harmless.
        try:
            os.pwrite(self._cursor_file, packed + _SUM.pack(crc32c(packed)), 0)
        except OSError as refused:  # a full disk: what is forgotten below makes room
            self._tell(refused)
        for segment in [one for one in self._sizes if one < self.cursor.segment]:
            self._forget(segment)

    def _forget(self, segment: int) -> None:
        known, file = self._reading
        if known == segment:  # while it is open its bytes stay on the disk
            os.close(file)
            self._reading = (0, -1)
        self._path(segment).unlink(missing_ok=True)
        del self._sizes[segment]

    def sync(self) -> None:
        """Make everything written survive a power cut; blocking, for a thread."""
        while self._full:
            full = self._full.popleft()
            try:
                os.fdatasync(full)
            finally:
                os.close(full)
        if self._unsynced:
            self._unsynced = False
            os.fdatasync(self._file)

    def close(self) -> None:
        """Sync and close."""
        if self._file >= 0:
            self.sync()
        for file in (self._file, self._cursor_file, self._reading[1]):
            if file >= 0:
                os.close(file)
        self._file = self._cursor_file = -1
        self._reading = (0, -1)


def _sound_bytes(data: bytes) -> int:
    end = 0
    for record in records_in(data):
        end = record.end
    return end
