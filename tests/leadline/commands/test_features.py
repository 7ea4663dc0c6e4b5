"""``leadline features``: what is read from the command line and from files."""

from datetime import UTC, datetime
from pathlib import Path

import click
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from leadline.cli import main
from leadline.commands.features import entity_row, read_rows

AT = datetime(2025, 1, 1, tzinfo=UTC)


def test_an_entity_row_is_json_or_pairs() -> None:
    assert entity_row(('{"a": 1}',)) == {"a": 1}
    assert entity_row(("carrier=UA", "number=7", "code=007", "empty=")) == {
        "carrier": "UA",
        "number": 7,
        "code": "007",
        "empty": "",
    }
    for wrong in (("{",), ("carrier",)):
        with pytest.raises(click.UsageError):
            entity_row(wrong)


def test_rows_are_read_from_every_kind_of_file(tmp_path: Path) -> None:
    table = pa.table({"k": [1], "event_time": pa.array([AT], pa.timestamp("us", "UTC"))})
    pq.write_table(table, tmp_path / "a.parquet")
    (tmp_path / "a.csv").write_text("k,event_time\n1,2025-01-01T01:00:00+01:00\n")
    (tmp_path / "a.jsonl").write_text('{"k": 1, "event_time": "2025-01-01T00:00:00Z"}\n')
    for file in ("a.parquet", "a.csv", "a.jsonl"):
        found = read_rows(tmp_path / file)
        assert found["event_time"].to_pylist() == [AT], file
        assert found["k"].to_pylist() == [1]


def test_a_time_without_a_zone_and_a_torn_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"event_time": "2025-01-01 00:00 o\'clock"}\n')
    (tmp_path / "naive.jsonl").write_text('{"event_time": "20250101T000000"}\n')
    (tmp_path / "torn.parquet").write_bytes(b"PAR1half")
    for file in ("naive.jsonl", "torn.parquet", "a.jsonl"):
        with pytest.raises(click.ClickException):
            read_rows(tmp_path / file)
    with pytest.raises(click.UsageError):
        read_rows(tmp_path / "a.xlsx")


def test_every_command_has_its_help() -> None:
    said = CliRunner().invoke(main, ["features", "--help"]).output
    for name in (
        "list", "plan", "apply", "push", "materialize", "get", "history", "historical", "verify",
        "quarantine",
    ):  # fmt: skip
        assert name in said


@pytest.mark.parametrize("given", [[], ["--ref", "a:b", "--service", "c"]])
@pytest.mark.parametrize("command", ["get", "historical"])
def test_features_are_named_in_one_way(tmp_path: Path, command: str, given: list[str]) -> None:
    (tmp_path / "rows.csv").write_text("a\n1\n")
    words = ["a=1"] if command == "get" else [str(tmp_path / "rows.csv"), "out.parquet"]
    told = CliRunner().invoke(main, ["features", command, *given, *words])
    assert told.exit_code == 2
    assert "--ref VIEW:FEATURE, or --service NAME" in told.output
