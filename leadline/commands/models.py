"""``leadline models``: which versions exist, who put them there, which serve and why."""

import json
from typing import Any

import click
from rich.console import Console
from rich.table import Column, Table

from leadline.client import Client
from leadline.commands.acts import acts
from leadline.commands.advice import say_advice
from leadline.commands.moments import moment
from leadline.commands.publish import publish
from leadline.state import StateDir, state_option

as_json_option = click.option("--json", "as_json", is_flag=True, help="Machine-readable.")


@click.group()
def models() -> None:
    """Model versions: list, show, compare, publish, change what serves."""


models.add_command(publish)


@models.command("list")
@state_option
@as_json_option
def list_(state: StateDir, as_json: bool) -> None:
    """Every model and what serves."""
    with Client.from_state(state) as client:
        found = client.get("/v1/models")
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    table = Table("model", "in production", "versions", "latest")
    for line in found["models"]:
        table.add_row(
            line["model"], line["production"] or "-", str(line["versions"]), line["latest"]
        )
    Console(markup=False).print(table)


@models.command()
@state_option
@click.argument("model")
@click.argument("version", required=False)
@as_json_option
def show(state: StateDir, model: str, version: str | None, as_json: bool) -> None:
    """MODEL with its versions, or all of one VERSION."""
    path = f"/v1/models/{model}" + (f"/versions/{version}" if version else "")
    with Client.from_state(state) as client:
        found = client.get(path)
    if as_json or version:
        click.echo(json.dumps(found, indent=2))
        return
    whole = {name: Column(name, no_wrap=True) for name in ("state", "since", "metrics")}
    folded = (Column(name, overflow="fold") for name in ("why", "data set", "by"))
    why, data_set, by = folded
    table = Table("#", whole["state"], whole["since"], why, data_set, whole["metrics"], by)
    for line in found["versions"]:
        metrics = "\n".join(f"{name} {value:.4g}" for name, value in line["metrics"].items())
        since = moment(line["since_us"]).replace(" ", "\n")
        table.add_row(
            line["version"], line["state"], since, line["reason"], line["dataset"] or "-",
            metrics, line["published_by"],
        )  # fmt: skip
    console = Console(markup=False)
    console.print(table)
    for line in found["versions"]:
        for said in line["replicas"]:
            if said["state"] == "failed":
                where = f"Version {line['version']} is not loaded by {said['replica']}"
                console.print(f"{where}: {said['reason']}", soft_wrap=True)


@models.command()
@state_option
@click.argument("model")
@click.argument("old")
@click.argument("new")
@as_json_option
def diff(state: StateDir, model: str, old: str, new: str, as_json: bool) -> None:
    """What differs between two versions.

    In their manifests, and in what their graphs take and give.
    """
    with Client.from_state(state) as client:
        pages = [client.get(f"/v1/models/{model}/versions/{version}") for version in (old, new)]
    before, after = (flat(page["manifest"] | _graph(page["signature"])) for page in pages)
    changed = {
        name: (before.get(name), after.get(name))
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    }
    if as_json:
        click.echo(json.dumps(changed, indent=2))
        return
    table = Table(Column("field", overflow="fold"), old, new)
    for name, (left, right) in changed.items():
        if not name.startswith("feature_service_json."):  # told by its fingerprint and the inputs
            table.add_row(name, _short(left), _short(right))
    Console(markup=False).print(table)


@models.command()
@state_option
@click.argument("model")
@as_json_option
def history(state: StateDir, model: str, as_json: bool) -> None:
    """Which version served when, who changed it, and why."""
    with Client.from_state(state) as client:
        found = client.get(f"/v1/models/{model}/history")
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    console = Console(markup=False)
    champions = Table("version", "from", "until", "by", "why", title="In production")
    for one in found["champions"]:
        until = moment(one["until_us"]) if one["until_us"] else "now"
        champions.add_row(one["version"], moment(one["from_us"]), until, one["by"], one["why"])
    console.print(champions)
    console.print(acts(found["history"], "Every act"))


@models.command()
@state_option
@click.argument("model")
@click.argument("version")
@click.argument("to", type=click.Choice(["production", "shadow", "candidate", "archived"]))
@click.option("--reason", required=True, help="Why; it is kept in the audit log.")
@click.option("--dry-run", is_flag=True, help="Show the result, change nothing.")
@as_json_option
def move(
    state: StateDir, model: str, version: str, to: str, reason: str, dry_run: bool, as_json: bool
) -> None:
    """Change a VERSION's state where that needs no rollout.

    archived retires the version in production: nothing of MODEL answers then.
    """
    path = f"/v1/models/{model}/versions/{version}"
    with Client.from_state(state) as client:
        before = client.get(path)
        revision = before["revision"]
        answer = client.post(
            f"{path}/transitions",
            {"to": to, "reason": reason},
            headers={"if-match": f'"{revision}"'},
            params={"dry_run": str(dry_run).lower()},
        )
    if as_json:
        click.echo(json.dumps(answer, indent=2))
        return
    click.echo(f"{model} version {version} {'would be' if dry_run else 'is'} {answer['state']}.")
    if before["state"] == "production":
        when = "then" if dry_run else "now"
        click.echo(f"Nothing of {model} answers {when}; its callers get 404. To bring it back:")
        click.echo(f"leadline models move {model} {version} production{state.flag} --reason ...")


@models.command()
@state_option
@click.argument("model")
@click.argument("version")
@click.option("--reason", required=True, help="Why; it is kept in the audit log.")
@click.option("--dry-run", is_flag=True, help="Show what would be started, start nothing.")
@as_json_option
def override(
    state: StateDir, model: str, version: str, reason: str, dry_run: bool, as_json: bool
) -> None:
    """All traffic to VERSION on your word, without evidence.

    Once it is loaded. Needs registry:override; a rollout of MODEL that is under way ends.
    """
    path = f"/v1/models/{model}/versions/{version}"
    with Client.from_state(state) as client:
        revision = client.get(path)["revision"]
        answer = client.post(
            f"{path}/overrides",
            {"reason": reason},
            headers={"if-match": f'"{revision}"'},
            params={"dry_run": str(dry_run).lower()},
        )
    if as_json or dry_run:
        click.echo(json.dumps(answer, indent=2))
        return
    name = answer["id"]
    click.echo(f"{name} takes it to version {version}: leadline rollout watch {name}{state.flag}")
    say_advice(answer)


@models.command()
@state_option
@click.argument("model")
@click.option("--reason", required=True, help="Why; it is kept in the audit log.")
@click.option("--dry-run", is_flag=True, help="Show the result, change nothing.")
@as_json_option
def rollback(state: StateDir, model: str, reason: str, dry_run: bool, as_json: bool) -> None:
    """Take back whatever last changed what serves MODEL, at once."""
    with Client.from_state(state) as client:
        answer = client.post(
            f"/v1/models/{model}/rollback",
            {"reason": reason},
            params={"dry_run": str(dry_run).lower()},
        )
    said = f"{answer['id']} is taken back; version {answer['baseline']} answers."
    click.echo(json.dumps(answer, indent=2) if as_json or dry_run else said)


def _graph(signature: dict[str, Any] | None) -> dict[str, Any]:
    """A line a tensor: ``graph.inputs.x``, ``FP32 [-1, 4]``; the rest of it the manifest says."""
    return {
        f"graph.{role}.{one['name']}": f"{one['datatype']} {one['shape']}"
        for role, tensors in (signature or {}).items()
        for one in tensors
    }


def flat(value: Any, name: str = "") -> dict[str, Any]:
    """Nested JSON as dotted names and leaves; things in a list go by their names, if they have."""
    if isinstance(value, dict) and value:
        parts = [flat(part, f"{name}.{key}" if name else key) for key, part in value.items()]
    elif isinstance(value, list) and any(isinstance(part, dict | list) for part in value):
        parts = [flat(part, f"{name}[{_place(part, at)}]") for at, part in enumerate(value)]
    else:
        return {name: value}
    return {key: leaf for part in parts for key, leaf in part.items()}


def _place(part: Any, at: int) -> str:
    named = part if isinstance(part, dict) else {}
    return str(named.get("name") or named.get("path") or at)


def _short(value: Any) -> str:
    text = "-" if value is None else str(value)
    return text if len(text) <= 60 else text[:57] + "..."
