"""Writes a benchmark's figures with what is needed to believe them: machine, commit, date."""

import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def circumstances(*, quick: bool) -> dict[str, Any]:
    """Where, on what and when a benchmark ran."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": _git("rev-parse", "--short", "HEAD")
        + ("+" if _git("status", "-s", "-uno") else ""),
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "python": platform.python_version(),
        "quick": quick,
    }


def record(
    name: str,
    *,
    quick: bool,
    figures: Mapping[str, Any],
    tables: Mapping[str, Sequence[Mapping[str, Any]]],
    notes: Sequence[str] = (),
) -> None:
    """Print the tables and write ``results/<name>.json`` and ``.md`` (quick runs only print)."""
    around = circumstances(quick=quick)
    text = _markdown(name, around, tables, notes)
    print(text, flush=True)
    if quick:
        return
    RESULTS.mkdir(exist_ok=True)
    content = {"circumstances": around, "figures": figures, "tables": tables, "notes": notes}
    (RESULTS / f"{name}.json").write_text(json.dumps(content, indent=2, default=float) + "\n")
    (RESULTS / f"{name}.md").write_text(text)


def _markdown(
    name: str,
    around: Mapping[str, Any],
    tables: Mapping[str, Sequence[Mapping[str, Any]]],
    notes: Sequence[str],
) -> str:
    lines = [f"# {name}", "", ", ".join(f"{key} {value}" for key, value in around.items()), ""]
    for title, rows in tables.items():
        columns = list(rows[0]) if rows else []
        lines += [f"## {title}", "", "| " + " | ".join(columns) + " |"]
        lines += ["|" + " --- |" * len(columns)]
        lines += [
            "| " + " | ".join(_cell(row[column]) for column in columns) + " |" for row in rows
        ]
        lines += [""]
    return "\n".join([*lines, *[f"- {note}" for note in notes], ""])


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _git(*arguments: str) -> str:
    said = subprocess.run(["git", *arguments], check=False, capture_output=True, text=True)
    return said.stdout.strip()


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if "model name" in line), "")
