"""``leadline logs``."""

import time
from collections import deque
from pathlib import Path

import click

from leadline.state import StateDir, state_option

_POLL_S = 0.3


@click.command()
@state_option
@click.argument("names", nargs=-1)
@click.option(
    "-n", "--lines", default=20, show_default=True, type=click.IntRange(min=0),
    help="Lines of each log.",
)  # fmt: skip
@click.option("-f", "--follow", is_flag=True, help="Go on as more is written.")
def logs(state: StateDir, names: tuple[str, ...], lines: int, follow: bool) -> None:
    """Show what the processes wrote: all, or those NAMED (gateway, inference, redis, …)."""
    found = {path.stem: path for path in sorted(state.logs_dir.glob("*.log"))}
    unknown = [name for name in names if name not in found]
    if unknown:
        raise click.ClickException(f"No log of {unknown[0]!r}; there are: {', '.join(found)}.")
    chosen = {name: found[name] for name in names or found}
    offsets = {name: _show_end(name, path, lines) for name, path in chosen.items()}
    while follow:
        time.sleep(_POLL_S)
        for name, path in chosen.items():
            offsets[name] = _show_from(name, path, offsets[name])


def _show_end(name: str, path: Path, lines: int) -> int:
    with path.open(errors="replace") as file:
        for line in deque(file, lines):
            click.echo(f"{name:14} {line.rstrip()}")
        return file.tell()


def _show_from(name: str, path: Path, offset: int) -> int:
    with path.open(errors="replace") as file:
        file.seek(offset if path.stat().st_size >= offset else 0)
        for line in file.readlines():
            click.echo(f"{name:14} {line.rstrip()}")
        return file.tell()
