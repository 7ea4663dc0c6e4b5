"""``leadline features``: what is read from the command line."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from leadline.cli import main


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


def test_a_training_set_is_written_only_where_its_name_says_its_format(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("a\n1\n")
    words = ["--ref", "a:b", str(tmp_path / "rows.csv"), str(tmp_path / "out.csv")]
    told = CliRunner().invoke(main, ["features", "historical", *words])
    assert told.exit_code == 2
    assert "OUT ends in .parquet or .arrow" in told.output
