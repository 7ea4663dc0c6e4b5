"""``leadline rollout``: start a rollout, watch it decide, and step in where a person must."""

import json
import time
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.live import Live
from rich.table import Column, Table

from leadline.client import Client, PlatformAwayError, ProblemError
from leadline.commands.advice import say_advice
from leadline.commands.models import as_json_option
from leadline.commands.moments import moment
from leadline.commands.rollout_view import ACTIVE, view
from leadline.state import StateDir, state_option

reason_option = click.option("--reason", required=True, help="Why; it is kept in the audit log.")


@click.group()
def rollout() -> None:
    """Rollouts: start, list, get, watch, explain; pause, resume, promote, abort, rollback."""


@rollout.command()
@state_option
@click.argument("model")
@click.argument("version")
@click.option(
    "--preset",
    type=click.Choice(["careful", "standard", "fast"]),
    default="careful",
    show_default=True,
    help="How much evidence each step waits for.",
)
@click.option(
    "--plan",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="JSON with fields of the plan that replace the preset's.",
)
@reason_option
@click.option("--dry-run", is_flag=True, help="Show the plan, start nothing.")
@as_json_option
def start(
    state: StateDir,
    model: str,
    version: str,
    preset: str,
    plan: Path | None,
    reason: str,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Bring VERSION to production by steps that are judged."""
    changes = {} if plan is None else _plan(plan)
    body = {"model": model, "version": version, "preset": preset, "plan": changes}
    with Client.from_state(state) as client:
        answer = client.post(
            "/v1/rollouts", {**body, "reason": reason}, params={"dry_run": str(dry_run).lower()}
        )
    if as_json or dry_run:
        click.echo(json.dumps(answer, indent=2))
    else:
        name = answer["id"]
        click.echo(f"{name} started. Watch it: leadline rollout watch {name}{state.flag}")
        say_advice(answer)


@rollout.command("list")
@state_option
@click.option("--model", help="Of one model only.")
@click.option("--active", is_flag=True, help="Only those under way.")
@as_json_option
def list_(state: StateDir, model: str | None, active: bool, as_json: bool) -> None:
    """Every rollout."""
    with Client.from_state(state) as client:
        found = client.get("/v1/rollouts", model=model, active=str(active).lower())
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    names = ("rollout", "versions", "status", "since")
    table = Table(*(Column(name, no_wrap=True) for name in names), Column("why", overflow="fold"))
    for one in found["rollouts"]:
        active = one["status"] in ACTIVE
        # Who ended it had the last word; what the controller found before is in explain.
        said = one["verdict"]["sentence"] if active and one["verdict"] else one["reason"]
        table.add_row(
            one["id"], f"{one['baseline']} → {one['candidate']}",
            f"{one['status']}\n{one['weight']:.0%}" if active else one["status"],
            moment(one["since_us"]).replace(" ", "\n"), said,
        )  # fmt: skip
    Console(markup=False).print(table)


@rollout.command()
@state_option
@click.argument("rollout_id")
@as_json_option
def get(state: StateDir, rollout_id: str, as_json: bool) -> None:
    """Where it stands, with its evidence."""
    with Client.from_state(state) as client:
        found, decisions = _look(client, rollout_id)
    if as_json:
        click.echo(json.dumps(found | {"decisions": decisions}, indent=2))
    else:
        Console(markup=False).print(view(found, decisions))


@rollout.command()
@state_option
@click.argument("rollout_id")
@as_json_option
def explain(state: StateDir, rollout_id: str, as_json: bool) -> None:
    """Every decision in a sentence, and what is missing now."""
    with Client.from_state(state) as client:
        found, decisions = _look(client, rollout_id)
    if as_json:
        click.echo(json.dumps({"decisions": decisions, "verdict": found["verdict"]}, indent=2))
        return
    if not decisions and not found["verdict"]:
        click.echo(f"{rollout_id} is {found['status']}; nothing has been decided yet.")
    for one in decisions:
        click.echo(f"{moment(one['at_us'])}  {one['sentence']}")
    if found["status"] in ACTIVE and found["verdict"]:
        click.echo("Now:")
        for missing in found["verdict"]["missing"] or [found["verdict"]["sentence"]]:
            click.echo(f"  - {missing}")


@rollout.command()
@state_option
@click.argument("rollout_id", required=False)
@click.option(
    "--every", "every_s", default=1.0, show_default=True, type=click.FloatRange(0.1, 3600),
    help="Seconds between looks.",
)  # fmt: skip
@click.option("--once", is_flag=True, help="Draw once and go.")
def watch(state: StateDir, rollout_id: str | None, every_s: float, once: bool) -> None:
    """Redraw the ladder, guards, verdict and log until it ends."""
    console = Console(markup=False)
    with Client.from_state(state) as client:
        name = rollout_id or _newest(client)
        found, decisions = _look(client, name)
        with Live(
            view(found, decisions), console=console, auto_refresh=False, transient=False
        ) as live:
            while found["status"] in ACTIVE and not once:
                time.sleep(every_s)
                if (seen := look_again(client, name)) is not None:
                    found, decisions = seen
                    live.update(view(found, decisions), refresh=True)


def _deed(name: str, help_: str) -> None:
    @rollout.command(name, help=help_)
    @state_option
    @click.argument("rollout_id")
    @reason_option
    @click.option("--dry-run", is_flag=True, help="Show the result, change nothing.")
    @as_json_option
    def command(
        state: StateDir, rollout_id: str, reason: str, dry_run: bool, as_json: bool
    ) -> None:
        path = f"/v1/rollouts/{rollout_id}"
        with Client.from_state(state) as client:
            # A rollback must not fail because something else just changed.
            match = "*" if name == "rollback" else f'"{client.get(path)["revision"]}"'
            answer = client.post(
                f"{path}/{name}",
                {"reason": reason},
                headers={"if-match": match},
                params={"dry_run": str(dry_run).lower()},
            )
        verb = "would be" if dry_run else "is"
        said = f"{rollout_id} {verb} {answer['status']} at step {answer['step']}."
        click.echo(json.dumps(answer, indent=2) if as_json else said)


for _name, _help in (
    ("pause", "Freeze the weights; guards stay awake."),
    ("resume", "Go on after a pause, or after lost records."),
    ("promote", "Approve the step that waits for a person."),
    ("abort", "End it; all traffic back, the version stays a candidate."),
    ("rollback", "Take it back now, under way or just finished."),
    ("override", "Take the next step without evidence (needs registry:override)."),
):
    _deed(_name, _help)


def _plan(path: Path) -> Any:
    """Raises ``UsageError`` where the file holds no JSON; what fits is the registry's to say."""
    try:
        return json.loads(path.read_text())
    except ValueError as torn:
        raise click.UsageError(f"{path} is not JSON: {torn}.") from None


def _look(client: Client, rollout_id: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    found = client.get(f"/v1/rollouts/{rollout_id}")
    decisions = client.get(f"/v1/rollouts/{rollout_id}/decisions")["decisions"]
    return found, decisions


def look_again(
    client: Client, rollout_id: str
) -> tuple[dict[str, Any], list[dict[str, Any]]] | None:
    """The rollout and its decisions; None while the platform or its registry is away: it may be
    restarting, and the last view stays."""
    try:
        return _look(client, rollout_id)
    except PlatformAwayError:
        return None
    except ProblemError as problem:
        if problem.status < 500:
            raise
        return None


def _newest(client: Client) -> str:
    rollouts = client.get("/v1/rollouts")["rollouts"]
    if not rollouts:
        raise click.ClickException("There is no rollout yet: leadline rollout start MODEL VERSION")
    return str(rollouts[-1]["id"])
