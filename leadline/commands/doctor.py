"""``leadline doctor``: looks for what could keep the platform from running."""

import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from math import nan

import click
import httpx

from leadline.commands.status import look
from leadline.commands.up import running_pid
from leadline.load.account import read_sample
from leadline.local.embedded_redis import find_server
from leadline.local.platform import DEFAULT_PORTS, HOST
from leadline.state import StateDir, state_option

DISK_BYTES_MIN = 1_000_000_000
_NEEDED = ("fastapi", "onnxruntime", "mlflow", "hiredis", "pyarrow", "sqlalchemy", "scipy")
Finding = tuple[bool, str]


@click.command()
@state_option
def doctor(state: StateDir) -> None:
    """Look for what could keep the platform from running; exit code 1 when something is found."""
    checks: tuple[Callable[[StateDir], Iterator[Finding]], ...] = (
        _python, _packages, _redis, _state, _ports, _services, _registry,
    )  # fmt: skip
    bad = 0
    for check in checks:
        for well, sentence in check(state):
            bad += not well
            click.echo(
                f"  {click.style('ok ', 'green') if well else click.style('BAD', 'red')} {sentence}"
            )
    click.echo("All is well." if not bad else f"{bad} finding(s).")
    sys.exit(1 if bad else 0)


def _python(_: StateDir) -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    yield sys.version_info >= (3, 11), f"Python {version} (3.11 or newer is needed)"


def _packages(_: StateDir) -> Iterator[Finding]:
    missing = [name for name in _NEEDED if find_spec(name) is None]
    yield not missing, f"packages: {', '.join(missing) + ' missing' if missing else 'all there'}"


def _redis(_: StateDir) -> Iterator[Finding]:
    try:
        yield True, f"Redis-compatible server: {find_server().name}"
    except FileNotFoundError as error:
        yield False, str(error)


def _state(state: StateDir) -> Iterator[Finding]:
    existing = next(folder for folder in (state.root, *state.root.parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    yield free > DISK_BYTES_MIN, f"disk: {free / 1e9:.1f} GB free for {state.root}"
    if state.credentials_file.exists():
        private = state.credentials_file.stat().st_mode & 0o077 == 0
        yield (
            private,
            f"credentials.json is {'private' if private else 'readable by others: chmod 600'}",
        )


def _ports(state: StateDir) -> Iterator[Finding]:
    if running_pid(state) is not None:
        return
    for name, port in DEFAULT_PORTS.items():
        with socket.socket() as sock:
            busy = sock.connect_ex((HOST, port)) == 0
        note = "busy; the next free one will be taken" if busy else "free"
        yield True, f"port {port} ({name}): {note}"


def _services(state: StateDir) -> Iterator[Finding]:
    if running_pid(state) is None:
        yield True, "nothing runs here now"
        return
    for name, service in look(state)["services"].items():
        why = "; ".join(service["missing"]) or "ready"
        yield service["ready"], f"{name} at {service['url']}: {why}"


def _registry(state: StateDir) -> Iterator[Finding]:
    """What the registry has found out about itself, as Prometheus is told."""
    if running_pid(state) is None:
        return
    try:
        answer = httpx.get(f"{state.read_endpoints()['registry']}/metrics", trust_env=False)
    except httpx.TransportError:
        return  # ``_services`` says so
    yield from findings_of(answer.text)


def findings_of(exposition: str) -> Iterator[Finding]:
    """What the registry's ``/metrics`` page says; what it does not say is not well."""
    told = read_sample([exposition])
    files = told.get(("registry_files_missing", ()), nan)
    yield not files, f"files of versions: {f'{files:.0f} missing' if files else 'all there'}"
    broken = told.get(("registry_audit_broken", ()), nan)
    yield not broken, f"audit log: {'not what was written' if broken else 'as it was written'}"
