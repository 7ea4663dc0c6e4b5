"""``leadline experiment``: n versions beside each other, judged at any time."""

import json
from typing import Any

import click
from rich.console import Console
from rich.table import Column, Table

from leadline.client import Client
from leadline.commands.advice import say_advice
from leadline.commands.models import as_json_option
from leadline.commands.moments import moment
from leadline.state import StateDir, state_option


@click.group()
def experiment() -> None:
    """A/B experiments: start, list, get, stop."""


@experiment.command()
@state_option
@click.argument("model")
@click.option(
    "--arm", "arms", multiple=True, required=True, help="NAME=VERSION:SHARE, the control first."
)
@click.option(
    "--metric",
    "metrics",
    multiple=True,
    default=("error_rate",),
    show_default=True,
    help="A kind (log_loss, accuracy, ...), or business:EVENT.",
)
@click.option("--reason", required=True, help="Why; it is kept in the audit log.")
@click.option("--dry-run", is_flag=True, help="Show the plan, start nothing.")
@as_json_option
def start(
    state: StateDir,
    model: str,
    arms: tuple[str, ...],
    metrics: tuple[str, ...],
    reason: str,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Split MODEL's units over arms.

    leadline experiment start delay --arm control=1:0.5 --arm new=2:0.5 --reason "is 2 better?"
    """
    plan = {"arms": [_arm(text) for text in arms], "metrics": [_metric(text) for text in metrics]}
    with Client.from_state(state) as client:
        answer = client.post(
            "/v1/experiments",
            {"model": model, "plan": plan, "reason": reason},
            params={"dry_run": str(dry_run).lower()},
        )
    if as_json or dry_run:
        click.echo(json.dumps(answer, indent=2))
        return
    name = answer["id"]
    click.echo(f"{name} is {answer['status']}. See: leadline experiment get {name}{state.flag}")
    say_advice(answer)


@experiment.command("list")
@state_option
@click.option("--model", help="Of one model only.")
@as_json_option
def list_(state: StateDir, model: str | None, as_json: bool) -> None:
    """Every experiment."""
    with Client.from_state(state) as client:
        found = client.get("/v1/experiments", model=model)
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    names = ("experiment", "status", "arms", "started")
    table = Table(*(Column(name, no_wrap=True) for name in names), Column("why", overflow="fold"))
    for one in found["experiments"]:
        arms = "\n".join(f"{a['name']}={a['version']}:{a['weight']}" for a in one["plan"]["arms"])
        started = moment(one["started_us"]).replace(" ", "\n")
        table.add_row(one["id"], one["status"], arms, started, one["reason"])
    Console(markup=False).print(table)


@experiment.command()
@state_option
@click.argument("experiment_id")
@as_json_option
def get(state: StateDir, experiment_id: str, as_json: bool) -> None:
    """What the arms show so far."""
    with Client.from_state(state) as client:
        found = client.get(f"/v1/experiments/{experiment_id}")
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    click.echo(f"{found['id']} of {found['model']} is {found['status']}: {found['reason']}")
    if found["mismatch"]:
        click.secho(f"The arms cannot be compared: {found['mismatch']}", fg="red")
    for one in found["comparisons"]:
        click.echo(f"  {one['sentence']}")
    if not found["comparisons"]:
        click.echo("  not enough data yet")


@experiment.command()
@state_option
@click.argument("experiment_id")
@click.option("--reason", required=True, help="Why; it is kept in the audit log.")
@as_json_option
def stop(state: StateDir, experiment_id: str, reason: str, as_json: bool) -> None:
    """All traffic back to the control."""
    path = f"/v1/experiments/{experiment_id}"
    with Client.from_state(state) as client:
        revision = client.get(path)["revision"]
        headers = {"if-match": f'"{revision}"'}
        answer = client.post(f"{path}/stop", {"reason": reason}, headers=headers)
    click.echo(json.dumps(answer, indent=2) if as_json else f"{experiment_id} is stopped.")


def _arm(text: str) -> dict[str, Any]:
    name, _, rest = text.partition("=")
    version, _, share = rest.partition(":")
    try:
        return {"name": name, "version": version, "weight": float(share)}
    except ValueError:
        raise click.UsageError(f"An arm is NAME=VERSION:SHARE, not {text!r}.") from None


def _metric(text: str) -> dict[str, Any]:
    kind, _, event = text.partition(":")
    metric: dict[str, Any] = {"name": event or kind, "kind": kind}
    if kind in ("accuracy", "business"):
        metric["direction"] = "lower_is_worse"
    if event:
        metric["metric"] = event
    if kind == "latency":
        metric["slo_ms"] = 50.0
    return metric
