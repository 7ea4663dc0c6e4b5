"""``leadline features``: what is read from the command line."""

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from leadline.cli import main
from leadline.commands.features import entity_row


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
