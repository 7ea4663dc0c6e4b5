"""Rows of files: every kind is read, and what has no zone or is torn is refused."""

from datetime import UTC, datetime
from pathlib import Path

import click
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from leadline.row_files import read_rows

AT = datetime(2025, 1, 1, tzinfo=UTC)


def test_rows_are_read_from_every_kind_of_file(tmp_path: Path) -> None:
    table = pa.table({"k": [1], "event_time": pa.array([AT], pa.timestamp("us", "UTC"))})
    pq.write_table(table, tmp_path / "a.parquet")
    (tmp_path / "a.csv").write_text("k,event_time\n1,2025-01-01T01:00:00+01:00\n")
    (tmp_path / "a.jsonl").write_text('{"k": 1, "event_time": "2025-01-01T00:00:00Z"}\n')
    for file in ("a.parquet", "a.csv", "a.jsonl"):
        found = read_rows(tmp_path / file)
        assert found["event_time"].to_pylist() == [AT], file
        assert found["k"].to_pylist() == [1]


def test_what_is_text_is_read_as_it_is_written(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("user,event_id,n,flag\n007,1e5,1,true\n12,,2,false\n")
    found = read_rows(tmp_path / "a.csv", {"user", "event_id", "flag", "elsewhere"})
    assert found["user"].to_pylist() == ["007", "12"]
    assert found["event_id"].to_pylist() == ["1e5", None]
    assert found["flag"].to_pylist() == ["true", "false"]
    assert found["n"].to_pylist() == [1, 2]


def test_a_time_without_a_zone_and_a_torn_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"event_time": "2025-01-01 00:00 o\'clock"}\n')
    (tmp_path / "naive.jsonl").write_text('{"event_time": "20250101T000000"}\n')
    (tmp_path / "torn.parquet").write_bytes(b"PAR1half")
    for file in ("naive.jsonl", "torn.parquet", "a.jsonl"):
        with pytest.raises(click.ClickException):
            read_rows(tmp_path / file)
    with pytest.raises(click.UsageError):
        read_rows(tmp_path / "a.xlsx")
