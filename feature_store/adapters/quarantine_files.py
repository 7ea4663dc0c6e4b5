"""Rows that could not be taken, kept as JSON lines with their reasons; the oldest go first."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from feature_store.domain.intake import SetAside

FILE_BYTES_MAX = 8 << 20
"""Two files of this size are kept."""


class QuarantineFiles:
    """``<folder>/current.jsonl`` and the one before it."""

    def __init__(self, folder: Path) -> None:
        self._current = folder / "current.jsonl"
        self._previous = folder / "previous.jsonl"

    def add(self, source: str, rows: Sequence[SetAside], at_us: int) -> None:
        """Keep rows with their reasons."""
        self._current.parent.mkdir(parents=True, exist_ok=True)
        if self._current.exists() and self._current.stat().st_size > FILE_BYTES_MAX:
            self._current.replace(self._previous)
        lines = [
            orjson.dumps(
                {"at_us": at_us, "source": source, "reason": row.reason, "row": row.content},
                default=repr,
                option=orjson.OPT_NON_STR_KEYS,
            )
            for row in rows
        ]
        with self._current.open("ab") as file:
            file.write(b"\n".join(lines) + b"\n")

    def latest(self, limit: int, source: str | None = None) -> list[dict[str, Any]]:
        """The last rows set aside, newest first."""
        found: list[dict[str, Any]] = []
        for path in (self._current, self._previous):
            if not path.exists():
                continue
            for line in reversed(path.read_bytes().splitlines()):
                entry = orjson.loads(line)
                if source is None or entry["source"] == source:
                    found.append(entry)
                if len(found) >= limit:
                    return found
        return found
