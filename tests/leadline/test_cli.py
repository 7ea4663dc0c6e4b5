"""The command line answers fast and helps with a typo."""

import subprocess
import sys
from pathlib import Path

from click.testing import CliRunner

from leadline.cli import main

HEAVY = ("numpy", "fastapi", "mlflow", "httpx", "rich", "pydantic", "pyarrow")


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import sys\nfrom leadline.cli import main\n"
        "main(['--help'], standalone_mode=False)\n"
        "print([name for name in sys.modules if name in set(sys.argv[1:])])"
    )
    command = [sys.executable, "-c", program, *HEAVY]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said.strip().endswith("[]")


def test_every_command_has_a_help_text() -> None:
    runner = CliRunner()
    context = main.make_context("leadline", ["up"])
    for name in main.list_commands(context):
        result = runner.invoke(main, [name, "--help"])
        assert result.exit_code == 0, result.output
        assert len(result.output) > 100


def test_a_typo_is_answered_with_the_nearest_command() -> None:
    result = CliRunner().invoke(main, ["statsu"])
    assert result.exit_code == 2
    assert "Did you mean 'status'?" in result.output


def test_status_of_nothing_is_not_ready(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["status", "--json", "--state", str(tmp_path)])
    assert result.exit_code == 1
    assert '"running": false' in result.output


def test_a_bad_instance_is_refused_before_anything_is_asked(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["predict", "delay", "{carrier: UA}"])
    assert result.exit_code == 2
    assert "Not JSON" in result.output
