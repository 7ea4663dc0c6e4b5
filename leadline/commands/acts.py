"""Entries of the audit log as people read them."""

from collections.abc import Iterable
from typing import Any

from rich.table import Column, Table

from leadline.commands.moments import moment


def acts(entries: Iterable[dict[str, Any]], title: str | None = None) -> Table:
    """Two lines an entry, so that what it says of why has room on a narrow screen."""
    table = Table(
        *(Column(name, no_wrap=True) for name in ("#", "when, who", "what, to what")),
        Column("why", overflow="fold"),
        title=title,
    )
    for entry in entries:
        table.add_row(
            str(entry["seq"]),
            f"{moment(entry['at_us'])}\n{entry['actor']}",
            f"{entry['action']}\n{_subject(entry)}",
            entry["reason"],
        )
    return table


def _subject(entry: dict[str, Any]) -> str:
    """What it was done to; of a version that moved, also where."""
    state = (entry["after"] or {}).get("state")
    moved = entry["action"] == "version.transition" and state is not None
    return f"{entry['subject']} → {state}" if moved else str(entry["subject"])
