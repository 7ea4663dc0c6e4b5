"""The command line, read in a process of its own: click keeps the first help option it makes."""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import click

from leadline.cli import main as cli
from leadline.reference.markdown import page

_CLI_WIDTH = 96


def cli_page() -> str:
    """What every command says of itself."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_cli_page_here).result()


def _cli_page_here() -> str:
    context = click.Context(
        cli, info_name="leadline", max_content_width=_CLI_WIDTH, **cli.context_settings
    )
    parts = _help_of(cli, context, "leadline")
    return page("Command line", "What `--help` says.", parts)


def _help_of(command: click.Command, context: click.Context, path: str) -> list[str]:
    context.terminal_width = _CLI_WIDTH
    parts = [f"## `{path}`", "", "```text", command.get_help(context).rstrip(), "```", ""]
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None, name
            inner = click.Context(child, info_name=name, parent=context)
            if not child.hidden:
                parts += _help_of(child, inner, f"{path} {name}")
    return parts
