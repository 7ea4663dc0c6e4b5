"""``leadline doctor`` where nothing runs; ``tests/platform`` asks it about a platform that does."""

from pathlib import Path

from click.testing import CliRunner

from leadline.commands.doctor import doctor, findings_of

_WELL = "registry_files_missing 0.0\nregistry_audit_broken 0.0\n"


def test_where_nothing_runs_and_nothing_is_wrong_all_is_well(tmp_path: Path) -> None:
    result = CliRunner().invoke(doctor, ["--state", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert "nothing runs here now" in result.output
    assert result.output.endswith("All is well.\n")


def test_secrets_that_others_may_read_are_a_finding(tmp_path: Path) -> None:
    credentials = tmp_path / "credentials.json"
    credentials.write_text("{}")
    credentials.chmod(0o644)
    result = CliRunner().invoke(doctor, ["--state", str(tmp_path)])
    assert (result.exit_code, "chmod 600" in result.output) == (1, True)
    credentials.chmod(0o600)
    assert CliRunner().invoke(doctor, ["--state", str(tmp_path)]).exit_code == 0


def test_what_the_registry_lacks_and_what_it_does_not_tell_are_findings() -> None:
    assert [well for well, _ in findings_of(_WELL)] == [True, True]
    lacking = next(findings_of(_WELL.replace("missing 0.0", "missing 2.0")))
    assert lacking == (False, "files of versions: 2 missing")
    assert [well for well, _ in findings_of(_WELL.replace("broken 0", "broken 1"))] == [True, False]
    assert [well for well, _ in findings_of("")] == [False, False]
