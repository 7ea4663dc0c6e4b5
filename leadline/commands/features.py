"""``leadline features``: what is defined, what is known, as of when, and whether it is right."""

import json
import time
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import Progress
from rich.table import Column, Table

from leadline.client import Client
from leadline.commands.entity_rows import entity_row, key_texts, names_of_text, texts_of
from leadline.row_files import arrow_bytes, read_rows
from leadline.state import StateDir, state_option

ARROW = "application/vnd.apache.arrow.stream"
ROWS_PER_REQUEST = 100_000
POLL_S = 0.2
ROWS_SHOWN = 20
NOT_SHOWN = ("created_time", "ingested_time", "seq", "event_id", "deleted")
as_json_option = click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
refs_option = click.option(
    "--ref", "refs", multiple=True, help="view:feature; may be repeated. Or --service."
)
service_option = click.option("--service", help="A feature service instead of refs.")


@click.group()
def features() -> None:
    """The feature store: definitions, values, histories, proofs."""


def _show(found: Any, as_json: bool, *columns: str, rows: list[list[Any]]) -> None:
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    table = Table(*columns)
    for row in rows:
        table.add_row(*("-" if cell is None else str(cell) for cell in row))
    Console(markup=False).print(table)


@features.command("list")
@state_option
@as_json_option
def list_(state: StateDir, as_json: bool) -> None:
    """The views, functions and services that are defined."""
    with Client.from_state(state) as client:
        found = client.get("/v1/features/definitions")
        fresh = client.get("/v1/features/freshness")["views"]
    rows = [
        [view["kind"], name, ", ".join(view["features"]), _age(fresh[name]), _short(view)]
        for name, view in found["views"].items()
    ]
    rows += [
        ["function", name, ", ".join(one["outputs"]), None, one["source_sha256"][:12]]
        for name, one in found["on_demand"].items()
    ]
    rows += [
        ["service", name, f"{len(one['refs'])} refs", None, _short(one)]
        for name, one in found["services"].items()
    ]
    _show(found, as_json, "kind", "name", "features", "newest event", "fingerprint", rows=rows)


def _short(described: dict[str, Any]) -> str:
    return str(described["fingerprint"])[:12]


def _age(view: dict[str, Any]) -> str | None:
    return None if view["age_s"] is None else f"{view['age_s'] / 3600:.1f} h ago"


@features.command()
@state_option
@as_json_option
def plan(state: StateDir, as_json: bool) -> None:
    """What reading the feature modules anew would change."""
    _redefine(state, as_json, dry_run=True)


@features.command()
@state_option
@as_json_option
def apply(state: StateDir, as_json: bool) -> None:
    """Read the feature modules anew.

    New and changed views are filled from the log.
    """
    _redefine(state, as_json, dry_run=False)


def _redefine(state: StateDir, as_json: bool, *, dry_run: bool) -> None:
    with Client.from_state(state) as client:
        found = client.post("/v1/features/definitions", {"dry_run": dry_run})
    rows = [[kind, name] for kind in ("added", "changed", "removed") for name in found[kind]]
    if not as_json and not rows:
        click.echo("Nothing differs from what is served.")
        return
    _show(found, as_json, "would be" if dry_run else "was", "definition", rows=rows)


@features.command()
@state_option
@click.argument("source")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--wait/--no-wait", default=True, help="Until the rows are online.")
@as_json_option
def push(state: StateDir, source: str, file: Path, wait: bool, as_json: bool) -> None:
    """Push the rows of FILE to SOURCE.

    FILE ends in .parquet, .csv, .json or .jsonl.
    """
    total: dict[str, Any] = {"accepted": 0, "duplicates": 0, "quarantined": [], "last_seq": 0}
    with Client.from_state(state, timeout_s=300) as client, Progress(disable=as_json) as progress:
        table = read_rows(file, texts_of(source, client.get("/v1/features/definitions")))
        task = progress.add_task(f"{source}", total=len(table))
        for at in range(0, len(table), ROWS_PER_REQUEST):
            part = table.slice(at, ROWS_PER_REQUEST)
            params = {"source": source, **({"wait": "applied"} if wait else {})}
            answer = client.send(
                "POST",
                "/v1/features/push",
                params=params,
                content=arrow_bytes(part),
                headers={"content-type": ARROW},
            ).json()
            total["accepted"] += answer["accepted"]
            total["duplicates"] += answer["duplicates"]
            total["last_seq"] = answer["last_seq"]
            total["quarantined"] += [
                {**one, "row": one["row"] + at} for one in answer["quarantined"]
            ]
            progress.advance(task, len(part))
    if as_json:
        click.echo(json.dumps(total, indent=2))
        return
    click.echo(f"{total['accepted']} rows taken, {total['duplicates']} known already.")
    for one in total["quarantined"][:20]:
        click.echo(f"  row {one['row']} set aside: {one['reason']}")


@features.command()
@state_option
@click.option("--timeout-s", default=300.0, show_default=True, help="How long to wait.")
@click.option("--start-over", is_flag=True, help="Empty the online store first.")
@as_json_option
def materialize(state: StateDir, timeout_s: float, start_over: bool, as_json: bool) -> None:
    """Wait until every view is online up to the log's end.

    With --start-over, look-ups have no features until it is filled again.
    """
    deadline = time.monotonic() + timeout_s
    with Client.from_state(state) as client, Progress(disable=as_json) as progress:
        if start_over:
            client.post("/v1/features/materialize", {})
        found = client.get("/v1/features/freshness")
        goal = found["log_seq"]
        task = progress.add_task("log position", total=goal)
        while any(view["applied_seq"] < goal for view in found["views"].values()):
            if time.monotonic() > deadline:
                raise click.ClickException("The online store is still behind the log.")
            time.sleep(POLL_S)
            found = client.get("/v1/features/freshness")
            applied = min(view["applied_seq"] for view in found["views"].values())
            progress.update(task, completed=applied)
        progress.update(task, completed=goal)
    rows = [[name, view["applied_seq"], view["behind"]] for name, view in found["views"].items()]
    _show(found, as_json, "view", "applied up to", "rows behind", rows=rows)


@features.command()
@state_option
@refs_option
@service_option
@click.argument("row", nargs=-1, required=True)
@as_json_option
def get(
    state: StateDir, refs: tuple[str, ...], service: str | None, row: tuple[str, ...], as_json: bool
) -> None:
    """Features as known now. ROW is one JSON object, or key=value pairs: carrier=UA.

    What is defined as a string is taken as it is written: user_id=1234.
    """
    _one_of(refs, service)
    entity_row(row)  # a mistake in it is told before anybody is asked
    body: dict[str, Any] = {"feature_service": service} if service else {"feature_refs": list(refs)}
    with Client.from_state(state) as client:
        text = names_of_text(client.get("/v1/features/definitions"))
        found = client.post("/v1/features/online", {**body, "entity_rows": [entity_row(row, text)]})
    values = found["rows"][0]
    rows = [
        [name, value, values[f"{name}__status"]]
        for name, value in values.items()
        if not name.endswith("__status")
    ]
    _show(found, as_json, "feature", "value", "status", rows=rows)


def _one_of(refs: tuple[str, ...], service: str | None) -> None:
    if bool(refs) == bool(service):
        raise click.UsageError("Say which features: --ref VIEW:FEATURE, or --service NAME.")


@features.command()
@state_option
@click.argument("view")
@click.argument("key", nargs=-1, required=True)
@click.option("--at", help="An instant with an offset; now when not given.")
@as_json_option
def history(
    state: StateDir, view: str, key: tuple[str, ...], at: str | None, as_json: bool
) -> None:
    """One key's rows in VIEW, and what was known when.

    What was known --at an instant, what is known of that instant now, and what is known of now.
    """
    params = {**({} if at is None else {"at": at}), **key_texts(key)}
    with Client.from_state(state) as client:
        found = client.send("GET", f"/v1/features/keys/{view}", params=params).json()
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    console = Console(markup=False)
    answers = Table("feature", "then", "then, corrected", "now")
    for feature in found["answers"]["now"]:
        shown = [found["answers"][when][feature] for when in ("then", "then_corrected", "now")]
        answers.add_row(feature, *(f"{one['value']} ({one['status']})" for one in shown))
    console.print(answers)
    rows = found["rows"][:ROWS_SHOWN]
    hidden = {*NOT_SHOWN, *found["key"]} - (
        {"deleted"} if any(r["deleted"] for r in rows) else set()
    )
    names = [name for name in (rows[0] if rows else ()) if name not in hidden]
    title = f"the newest {len(rows)} of {found['rows_total']:,} rows (--json: with all columns)"
    table = Table(*(Column(name, overflow="fold") for name in names), title=title)
    for row in rows:
        table.add_row(*(str(row[name]).removesuffix(":00+00:00") for name in names))
    console.print(table)


@features.command()
@state_option
@click.argument("rows", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path))
@refs_option
@service_option
@click.option("--at", default="event_time", show_default=True, help="Column of the instants.")
@click.option(
    "--mode", type=click.Choice(["known", "event"]), default="known", show_default=True,
    help="As it was known then, or as corrected since.",
)  # fmt: skip
@click.option("--as-of-seq", type=int, help="Pin the log at a position.")
def historical(
    state: StateDir,
    rows: Path,
    out: Path,
    refs: tuple[str, ...],
    service: str | None,
    at: str,
    mode: str,
    as_of_seq: int | None,
) -> None:
    """Join features to ROWS as of each row's instant.

    OUT is written; its name ends in .parquet or .arrow.
    """
    _one_of(refs, service)
    file_format = out.suffix.removeprefix(".")
    if file_format not in ("parquet", "arrow"):
        raise click.UsageError("OUT ends in .parquet or .arrow.")
    params: dict[str, Any] = {"at": at, "mode": mode, "format": file_format}
    params |= {"feature_service": service} if service else {"feature_refs": list(refs)}
    if as_of_seq is not None:
        params["as_of_seq"] = as_of_seq
    with Client.from_state(state, timeout_s=300) as client, Progress() as progress:
        table = read_rows(rows, names_of_text(client.get("/v1/features/definitions")))
        job = client.send(
            "POST",
            "/v1/features/historical",
            params=params,
            content=arrow_bytes(table),
            headers={"content-type": ARROW},
        ).json()
        task = progress.add_task(f"{job['rows']} rows", total=1.0)
        while job["state"] in ("waiting", "running"):
            progress.update(task, completed=job["progress"])
            time.sleep(POLL_S)
            job = client.get(f"/v1/features/jobs/{job['id']}")
        progress.update(task, completed=1.0)
        if job["state"] == "failed":
            raise click.ClickException(job["error"])
        out.write_bytes(client.send("GET", job["result"]).content)
    click.echo(f"{job['rows']} rows written to {out}.")


@features.command()
@state_option
@click.argument("view", required=False)
@as_json_option
def verify(state: StateDir, view: str | None, as_json: bool) -> None:
    """Compare what is online with the log.

    Every key of VIEW, or of all views; then what the replay of served rows has found. The exit code
    is 1 on a mismatch.
    """
    with Client.from_state(state, timeout_s=300) as client:
        names = [view] if view else list(client.get("/v1/features/definitions")["views"])
        found = [client.get("/v1/features/consistency", view=name) for name in names]
        served = client.get("/v1/features/consistency")["served"]
    rows = [
        [one["view"], one["keys"], one["mismatches_total"], one["orphans"], one["applied_seq"]]
        for one in found
    ]
    whole = {"views": found, "served": served}
    _show(whole, as_json, "view", "keys", "mismatches", "orphans", "log position", rows=rows)
    if not as_json:
        click.echo(
            f"Of what was served, {served['rows']} sampled rows were replayed from the log: "
            f"{served['values_match']} values match, {served['values_stale']} were stale, "
            f"{served['values_mismatch']} mismatch."
        )
    wrong = any(one["mismatches_total"] or one["orphans"] for one in found)
    if wrong or served["values_mismatch"]:
        raise SystemExit(1)


@features.command()
@state_option
@click.option("--source", help="Of one source only.")
@click.option(
    "--limit", default=20, show_default=True, type=click.IntRange(1, 1000), help="Rows at most."
)
@as_json_option
def quarantine(state: StateDir, source: str | None, limit: int, as_json: bool) -> None:
    """Rows that could not be taken, and why, newest first."""
    with Client.from_state(state) as client:
        found = client.get("/v1/features/quarantine", source=source, limit=limit)
    rows = [[one["source"], one["reason"], json.dumps(one["row"])] for one in found["rows"]]
    _show(found, as_json, "source", "reason", "row", rows=rows)
