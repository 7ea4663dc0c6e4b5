"""The log loses nothing that was acknowledged and shows nothing twice, wherever it is cut."""

import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pytest

from feature_store.adapters.log_parquet import ParquetLog, TornSegment
from feature_store.adapters.log_writer_parquet import DIRECT_ROWS, LogBusy, LogWriter
from feature_store.domain.intake import take_rows
from shared_features import Source

FACTS = Source("facts", {"k": "int64", "x": "int64"})
OTHER = Source("other", {"k": "int64"})


def rows_of(*numbers: int, source: Source = FACTS) -> tuple[str, pa.Table]:
    given = [
        {"event_time": "2025-01-01T00:00:00Z", **dict.fromkeys(source.columns, n)} for n in numbers
    ]
    return source.name, take_rows(source, [], given).table


def read(folder: Path, source: Source = FACTS) -> list[tuple[int, int]]:
    table = ParquetLog(folder).read(source)
    return list(zip(table["__seq"].to_pylist(), table["k"].to_pylist(), strict=True))


def test_rows_are_numbered_over_all_sources_and_read_by_position(tmp_path: Path) -> None:
    with LogWriter(tmp_path) as log:
        spans = log.append([rows_of(1, 2), rows_of(3, source=OTHER), rows_of(4)], 10)
        assert spans == [(1, 2), (3, 3), (4, 4)]
        assert [seq for seq, _ in read(tmp_path)] == [1, 2, 4]
        assert log.reader.read(FACTS, 1, 3)["__seq"].to_pylist() == [2]
        assert log.reader.last_seq() == log.last_seq == 4


def test_ingestion_time_never_decreases_even_when_the_clock_does(tmp_path: Path) -> None:
    with LogWriter(tmp_path) as log:
        log.append([rows_of(1)], 100)
        log.append([rows_of(2)], 50)
    with LogWriter(tmp_path) as log:
        log.append([rows_of(3)], 70)
        assert log.reader.read(FACTS)["__ingested_us"].to_pylist() == [100, 100, 100]


def test_sealing_changes_nothing_that_is_read(tmp_path: Path) -> None:
    with LogWriter(tmp_path) as log:
        log.append([rows_of(*range(5)), rows_of(9, source=OTHER)], 1)
        before = (read(tmp_path), read(tmp_path, OTHER))
        log.seal()
        assert not list(tmp_path.glob("tail-*.wal"))
        assert (read(tmp_path), read(tmp_path, OTHER)) == before
        log.append([rows_of(6)], 1)
        assert read(tmp_path)[-1] == (7, 6)


def test_a_large_batch_becomes_a_segment_at_once(tmp_path: Path) -> None:
    with LogWriter(tmp_path) as log:
        log.append([rows_of(1), rows_of(*range(DIRECT_ROWS)), rows_of(2)], 1)
        assert len(log.reader.segments("facts")) >= 1
        assert [seq for seq, _ in read(tmp_path)] == list(range(1, DIRECT_ROWS + 3))


def test_an_append_cut_anywhere_leaves_the_whole_frames(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    with LogWriter(whole) as log:
        log.append([rows_of(1)], 1)
        [tail] = whole.glob("tail-*.wal")
        first = tail.stat().st_size
        log.append([rows_of(2), rows_of(3)], 1)
        data = tail.read_bytes()
    second = first + (len(data) - first) // 2
    for cut in range(first, len(data) + 1, 37):
        folder = tmp_path / f"cut{cut}"
        folder.mkdir()
        shutil.copy(whole / "id", folder)
        (folder / tail.name).write_bytes(data[:cut])
        expected = 1 + (cut >= second) + (cut >= len(data))
        assert len(read(folder)) == expected  # a reader beside the writer sees the same
        with LogWriter(folder) as log:
            log.append([rows_of(9)], 1)
        assert [k for _, k in read(folder)] == [*[1, 2, 3][:expected], 9]


def test_a_frame_with_a_flipped_bit_ends_the_tail(tmp_path: Path) -> None:
    with LogWriter(tmp_path) as log:
        log.append([rows_of(1)], 1)
        [tail] = tmp_path.glob("tail-*.wal")
        first = tail.stat().st_size
        log.append([rows_of(2)], 1)
    data = bytearray(tail.read_bytes())
    data[first + 40] ^= 1
    tail.write_bytes(data)
    assert [k for _, k in read(tmp_path)] == [1]


def test_killed_between_sealing_and_deleting_the_tail_nothing_is_twice(tmp_path: Path) -> None:
    with LogWriter(tmp_path) as log:
        log.append([rows_of(1, 2)], 1)
        [tail] = tmp_path.glob("tail-*.wal")
        kept = tail.read_bytes()
        log.seal()
    tail.write_bytes(kept)
    (tmp_path / "facts" / "left.partial").write_bytes(b"half")
    assert [k for _, k in read(tmp_path)] == [1, 2]
    with LogWriter(tmp_path) as log:
        log.append([rows_of(3)], 1)
    assert read(tmp_path) == [(1, 1), (2, 2), (3, 3)]
    assert not list(tmp_path.glob("facts/*.partial"))


def test_there_is_one_writer(tmp_path: Path) -> None:
    with LogWriter(tmp_path), pytest.raises(LogBusy):
        LogWriter(tmp_path)
    LogWriter(tmp_path).close()


def test_a_torn_segment_is_named(tmp_path: Path) -> None:
    with LogWriter(tmp_path) as log:
        log.append([rows_of(1)], 1)
        log.seal()
    [segment] = tmp_path.glob("facts/*.parquet")
    segment.write_bytes(segment.read_bytes()[:-20])
    with pytest.raises(TornSegment, match=segment.name):
        read(tmp_path)


def test_a_column_that_came_later_is_null_in_older_rows(tmp_path: Path) -> None:
    wider = Source("facts", {"k": "int64", "x": "int64", "new": "string"})
    with LogWriter(tmp_path) as log:
        log.append([rows_of(1)], 1)
        log.seal()
        given = [{"event_time": "2025-01-01T00:00:00Z", "k": 2, "x": 3, "new": "n"}]
        log.append([("facts", take_rows(wider, [], given).table)], 1)
        assert log.reader.read(wider)["new"].to_pylist() == [None, "n"]
        log.seal()
    assert ParquetLog(tmp_path).read(wider)["new"].to_pylist() == [None, "n"]


_WRITER = """
import sys
from pathlib import Path
from feature_store.adapters.log_writer_parquet import LogWriter
from tests.feature_store.adapters.test_log_parquet import rows_of
with LogWriter(Path(sys.argv[1])) as log:
    for n in range(100_000):
        print(log.append([rows_of(n)], 1)[0][1], flush=True)
        if n % 7 == 6:
            log.seal()
"""


@pytest.mark.parametrize("acknowledged", [1, 6, 7, 30])
def test_a_killed_writer_keeps_every_row_it_acknowledged(tmp_path: Path, acknowledged: int) -> None:
    command: Sequence[str] = [sys.executable, "-c", _WRITER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        seen = 0
        for line in process.stdout:
            seen = int(line)
            if seen >= acknowledged:
                process.send_signal(signal.SIGKILL)
                break
    found = read(tmp_path)
    assert [seq for seq, _ in found] == list(range(1, len(found) + 1))
    assert len(found) >= seen
    with LogWriter(tmp_path) as log:
        log.append([rows_of(-1)], 1)
    assert read(tmp_path) == [*found, (len(found) + 1, -1)]
