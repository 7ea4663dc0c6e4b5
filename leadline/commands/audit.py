"""``leadline audit``: who did what, when and why; and proof that the log is what was written."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from leadline.client import Client, ProblemError
from leadline.commands.acts import acts
from leadline.commands.models import as_json_option
from leadline.state import StateDir, state_option

PAGE = 1000


@click.group()
def audit() -> None:
    """The audit log: list, verify, export."""


@audit.command("list")
@state_option
@click.option("--model", help="Only this model's entries.")
@click.option(
    "--last", default=30, show_default=True, type=click.IntRange(min=1),
    help="How many, from the end.",
)  # fmt: skip
@as_json_option
def list_(state: StateDir, model: str | None, last: int, as_json: bool) -> None:
    """The last entries."""
    with Client.from_state(state) as client:
        entries = list(_entries(client, model))[-last:]
    if as_json:
        click.echo(json.dumps(entries, indent=2))
        return
    Console(markup=False).print(acts(entries))


@audit.command()
@state_option
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Default: stdout.")
def export(state: StateDir, out: Path | None) -> None:
    """Every entry as a line of JSON.

    `leadline audit verify --file` checks it anywhere.
    """
    with Client.from_state(state) as client:
        lines = [json.dumps(entry) for entry in _entries(client, None)]
    text = "".join(line + "\n" for line in lines)
    if out is None:
        click.echo(text, nl=False)
        return
    try:
        out.write_text(text)
    except OSError as refused:
        raise click.FileError(str(out), refused.strerror) from None
    click.echo(f"{len(lines)} entries written to {out}")


@audit.command()
@state_option
@click.option(
    "--file",
    "path",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="An export, instead of the platform.",
)
@click.option("--head", help="SEQ:DIGEST that was kept elsewhere; shows a cut tail.")
@as_json_option
def verify(state: StateDir, path: Path | None, head: str | None, as_json: bool) -> None:
    """Recompute the chain here.

    The exit code is 1 when an entry was changed, removed or reordered.
    """
    # The chain's rule is the registry's; importing it costs pydantic, so only here.
    from registry.domain.audit import BrokenChain, check_chain, entry_of

    kept = _kept(head)
    try:
        if path is None:
            texts, kept = _of_platform(state, kept)
        else:
            texts = [line for line in path.read_bytes().splitlines() if line]
        parsed = [entry_of(text, number) for number, text in enumerate(texts, 1)]
        count = check_chain(parsed, kept)
        report: dict[str, Any] = {"intact": True, "entries": count}
        said = f"Intact: {count} entries."
        if parsed:
            report["head"] = f"{parsed[-1].seq}:{parsed[-1].digest}"
            said += f" Keep this elsewhere: --head {report['head']}"
    except (BrokenChain, ProblemError) as broken:
        report = {"intact": False, **_broken(broken)}
        said = f"BROKEN: {report['what']}."
    click.echo(json.dumps(report, indent=2) if as_json else said)
    sys.exit(0 if report["intact"] else 1)


def _of_platform(
    state: StateDir, kept: tuple[int, str] | None
) -> tuple[list[bytes], tuple[int, str]]:
    """Every entry up to the head that was kept, or up to the platform's own."""
    with Client.from_state(state) as client:
        entries = list(_entries(client, None))
        at = client.get("/v1/audit/head")
    kept = kept or (at["seq"], at["digest"])
    return [json.dumps(entry).encode() for entry in entries if entry["seq"] <= kept[0]], kept


def _broken(broken: Exception) -> dict[str, Any]:
    """Where and how; the registry itself refuses to show an entry that it cannot read."""
    if not isinstance(broken, ProblemError):
        return {"broken_at": getattr(broken, "seq", None), "what": str(broken)}
    if "broken_at" not in broken.body:
        raise broken
    return {name: broken.body[name] for name in ("broken_at", "what")}


def _kept(head: str | None) -> tuple[int, str] | None:
    if head is None:
        return None
    seq, _, digest = head.partition(":")
    if not seq.isdecimal() or len(digest) != 64:
        raise click.UsageError("--head is SEQ:DIGEST, as an earlier verify printed it.")
    return int(seq), digest


def _entries(client: Client, model: str | None) -> Iterator[dict[str, Any]]:
    after = 0
    while True:
        page = client.get("/v1/audit", after=after, limit=PAGE, model=model)
        yield from page["entries"]
        if page["next"] is None:
            return
        after = page["next"]
