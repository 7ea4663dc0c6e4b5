"""``leadline drift|quality|alerts|report``: what the monitor knows, from the shell."""

import json
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from leadline.client import Client
from leadline.state import StateDir, state_option

json_option = click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
from_option = click.option("--from", "from_", help="Begin of the window, as 2013-12-05T00:00Z.")
until_option = click.option("--until", help="End of the window.")
version_option = click.option("--version", help="One version only.")
segment_option = click.option("--segment", default="", help="Such as origin=EWR.")
NAME_WIDTH_MAX = 16


def _when(text: str | None) -> str | None:
    """ISO 8601 with an offset, as the API wants it; a bare date is UTC midnight."""
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is no time such as 2013-12-05T00:00Z") from None
    return at.isoformat() + ("" if at.tzinfo else "+00:00")


@click.command()
@state_option
@click.argument("model")
@version_option
@segment_option
@click.option("--hours", type=int, default=24, show_default=True, help="Of the window.")
@from_option
@until_option
@click.option("--run", is_flag=True, help="Begin a run that is kept, and show its id.")
@json_option
def drift(
    state: StateDir,
    model: str,
    version: str | None,
    segment: str,
    hours: int,
    from_: str | None,
    until: str | None,
    run: bool,
    as_json: bool,
) -> None:
    """Test each feature of MODEL against its training baseline."""
    if run and (version or segment):
        raise click.UsageError("A run that is kept judges every version, all rows and segments.")
    params = {"hours": hours, "from": _when(from_), "until": _when(until)}
    given = {name: value for name, value in params.items() if value is not None}
    with Client.from_state(state) as client:
        if run:
            begun = client.post(f"/v1/drift/{model}/runs", params=given)
            click.echo(json.dumps(begun, indent=2) if as_json else f"Run {begun['id']} has begun.")
            return
        found = client.get(f"/v1/drift/{model}", version=version, segment=segment, **given)
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    for one in found["versions"]:
        _print(_drift_table(model, found["window_text"], one))
    if not found["versions"]:
        click.echo("Nothing was served in this window.")


def _name_width(names: Iterable[str]) -> int:
    """What a column of names is given before the numbers are: a name that is cut names nothing."""
    return min(NAME_WIDTH_MAX, max(map(len, names), default=0))


def _drift_table(model: str, window: str, found: dict[str, Any]) -> Table:
    title = f"{model} v{found['version']}, {window}: {found['state']}"
    table = Table(title=title, box=SIMPLE_HEAD, collapse_padding=True)
    if any(one["state"] != "OK" for one in found["columns"].values()):
        table.caption = "-: too few rows"
    table.add_column("column", overflow="fold", min_width=_name_width(found["columns"]))
    for name in ("rows", "D", "p", "q", "low", "floor", "shift", "nulls"):
        table.add_column(name, justify="right")
    for name, one in found["columns"].items():
        if one["state"] != "OK":
            table.add_row(name, f"{one['rows']:,}", "-")
            continue
        shift = "" if one["mean_shift"] is None else f"{one['mean_shift']:+.2f} σ"
        table.add_row(
            name, f"{one['rows']:,}", f"{one['distance']:.3f}", f"{one['p']:.1g}",
            f"{one['q']:.1g}", f"{one['low']:.3f}", f"{one['floor']:.3f}", shift,
            f"{one['null_rate']:.1%}",
            style="bold" if one["low"] > one["floor"] else None,
        )  # fmt: skip
    return table


@click.command()
@state_option
@click.argument("model")
@version_option
@segment_option
@click.option("--hours", type=int, default=168, show_default=True, help="Of the window.")
@from_option
@until_option
@json_option
def quality(
    state: StateDir,
    model: str,
    version: str | None,
    segment: str,
    hours: int,
    from_: str | None,
    until: str | None,
    as_json: bool,
) -> None:
    """Compare MODEL's predictions with the labels that have come."""
    params = {"hours": hours, "from": _when(from_), "until": _when(until)}
    with Client.from_state(state) as client:
        found = client.get(f"/v1/quality/{model}", version=version, segment=segment, **params)
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    table = Table(title=f"{model}, {found['window_text']}")
    for name in ("", *(f"v{one['version']}" for one in found["versions"])):
        table.add_column(name, justify="right" if name else "left")
    for name in (
        "state", "predictions", "n", "completeness", "completeness_due", "mean_prediction",
        "mean_label", "accuracy", "log_loss", "brier", "auc", "mae", "rmse",
    ):  # fmt: skip
        values = [_with_interval(one, name) for one in found["versions"]]
        if any(values):
            table.add_row(name, *values)
    _print(table)


def _with_interval(found: dict[str, Any], name: str) -> str:
    value, interval = found.get(name), found.get(f"{name}_interval")
    if value is None:
        return ""
    shown = f"{value:.3f}" if isinstance(value, float) else f"{value}"
    if interval and None not in interval:
        shown += f" [{interval[0]:.3f}, {interval[1]:.3f}]"
    return shown


@click.group(invoke_without_command=True)
@click.pass_context
@state_option
@click.option("--model", help="Of one model only.")
@click.option("--all", "everything", is_flag=True, help="Those that are OK, too.")
@json_option
def alerts(
    context: click.Context, state: StateDir, model: str | None, everything: bool, as_json: bool
) -> None:
    """List what people should know, worst first; or acknowledge or silence one."""
    if context.invoked_subcommand is not None:
        return
    with Client.from_state(state) as client:
        found = client.get("/v1/alerts", model=model, everything=everything)["alerts"]
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    for alert in found:
        click.echo(f"{alert['severity']:6} {alert['state']:10} {alert['fingerprint']}")
        click.echo(f"       {alert['sentence']}")
    if not found:
        click.echo("Nothing that anybody needs to know.")


@alerts.command()
@state_option
@click.argument("fingerprint")
def ack(state: StateDir, fingerprint: str) -> None:
    """You have seen it: no further messages until it ends."""
    with Client.from_state(state) as client:
        found = client.post(f"/v1/alerts/{fingerprint}/ack")
    click.echo(f"{found['state']}: {found['sentence']}")


@alerts.command()
@state_option
@click.argument("fingerprint")
@click.option("--until", required=True, help="Such as 2013-12-31T00:00Z.")
@click.option("--reason", required=True, help="Why; it is kept with the alert.")
def silence(state: StateDir, fingerprint: str, until: str, reason: str) -> None:
    """No messages about it until then."""
    body = {"until": _when(until), "reason": reason}
    with Client.from_state(state) as client:
        found = client.post(f"/v1/alerts/{fingerprint}/silence", body)
    click.echo(f"{found['state']}: {found['sentence']}")


@click.command()
@state_option
@click.argument("model")
@version_option
@until_option
@click.option(
    "--output", type=click.Path(path_type=Path, dir_okay=False), help="Where to write the page."
)
@json_option
def report(
    state: StateDir,
    model: str,
    version: str | None,
    until: str | None,
    output: Path | None,
    as_json: bool,
) -> None:
    """Write MODEL's last nightly report as one self-contained HTML page."""
    params = {"version": version, "until": _when(until)}
    given = {name: value for name, value in params.items() if value is not None}
    with Client.from_state(state) as client:
        if as_json:
            click.echo(json.dumps(client.get(f"/v1/reports/{model}", **given), indent=2))
            return
        page = client.send("GET", f"/v1/reports/{model}/html", params=given).text
    path = output or Path(f"{model}-report.html")
    path.write_text(page, encoding="utf-8")
    click.echo(f"Written: {path}")


def _print(table: Table) -> None:
    Console(markup=False).print(table)
