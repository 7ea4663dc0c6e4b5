"""``leadline status``: what runs, whether it is ready, and what is missing."""

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import click
import httpx

from leadline.commands.up import running_pid
from leadline.state import SERVICES, StateDir, state_option


@click.command()
@state_option
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def status(state: StateDir, as_json: bool) -> None:
    """Say what runs and whether it is ready; exit code 0 only when everything is."""
    report = look(state)
    if as_json:
        click.echo(json.dumps(report, indent=2))
    else:
        _print(state, report)
    sys.exit(0 if report["ready"] else 1)


def look(state: StateDir) -> dict[str, Any]:
    """The state of every part: ``{"ready": bool, "services": {name: {...}}}``."""
    if running_pid(state) is None or not state.endpoints_file.exists():
        return {"ready": False, "running": False, "services": {}}
    endpoints = state.read_endpoints()
    with httpx.Client(trust_env=False, timeout=2.0) as client, ThreadPoolExecutor(8) as pool:
        answers = pool.map(lambda item: _ask(client, *item), endpoints.items())
        services = dict(zip(endpoints, answers, strict=True))
    started = (state.run_dir / "ready").exists()
    ready = started and all(service["ready"] for service in services.values())
    return {"ready": ready, "running": True, "started": started, "services": services}


def _ask(client: httpx.Client, name: str, url: str) -> dict[str, Any]:
    path = "/readyz" if name in SERVICES else "/health"
    try:
        response = client.get(url + path)
    except httpx.TransportError as error:
        return {"url": url, "ready": False, "missing": [f"no answer: {type(error).__name__}"]}
    missing = response.json().get("missing", []) if name in SERVICES else []
    return {"url": url, "ready": response.status_code == 200, "missing": missing}


def _print(state: StateDir, report: dict[str, Any]) -> None:
    if not report["running"]:
        click.echo(f"Nothing runs in {state.root}. Start it with: leadline up --demo{state.flag}")
        return
    for name, service in report["services"].items():
        mark = (
            click.style("ready", "green") if service["ready"] else click.style("NOT READY", "red")
        )
        click.echo(f"  {name:14} {service['url']:28} {mark} {'; '.join(service['missing'])}")
    if not report["started"]:
        click.echo("  still starting")
