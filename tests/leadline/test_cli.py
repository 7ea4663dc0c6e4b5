"""The command line answers fast and helps with a typo."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
from click.testing import CliRunner

from leadline.cli import main


def walk(group: click.Group, context: click.Context) -> Iterator[tuple[str, click.Command]]:
    """Every command under ``group``."""
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield name, command
        if isinstance(command, click.Group):
            yield from walk(command, context)


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


def test_lists_of_commands_cut_no_sentence_and_every_option_says_what_for() -> None:
    context = main.make_context("leadline", ["up"])
    for name, command in walk(main, context):
        for option in command.params:
            assert not isinstance(option, click.Option) or option.help, (name, option.name)
        if isinstance(command, click.Group) and command is not main:
            page = command.get_help(click.Context(command, info_name=name, terminal_width=80))
            assert "..." not in page.partition("Commands:")[2], name


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
