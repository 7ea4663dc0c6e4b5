"""Which numbers were given to versions, rollouts and experiments, beside the database.

``<directory>/<series>/<model>``: a line a number, and for a version what it stands for. A database
that is restored from a copy has forgotten the last ones; replicas, the monitor, MLflow and people
have not.
"""

import re
from collections.abc import Collection
from pathlib import Path

from contracts.manifest import NAME
from kit.durable import sync_folder, write_whole
from registry.ports import Series

_UNKNOWN = "-"


class DiskNumbers:
    """See ``registry.ports.Numbers``. Call it alone: inside a write of the ledger."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def next(self, series: Series, model: str, taken: Collection[int], of: str = "") -> int:
        """The number that ``of`` had before, or one that nobody had."""
        given = self._given(series, model)
        again = (number for number, what in given.items() if of and what == of)
        free = (number for number in again if number not in taken)
        return next(free, 1 + max((*given, *taken), default=0))

    def keep(self, series: Series, model: str, number: int, of: str = "") -> None:
        """Remember, durably, that the number is given."""
        given = self._given(series, model)
        what = of or given.get(number, _UNKNOWN)
        if given.get(number) != what:
            self._write(self._place(series, model), given | {number: what})

    def _given(self, series: Series, model: str) -> dict[int, str]:
        try:
            lines = self._place(series, model).read_text().splitlines()
        except FileNotFoundError:
            return {}
        return {int(number): what for number, what in (line.split() for line in lines)}

    def _place(self, series: Series, model: str) -> Path:
        assert re.fullmatch(NAME, model), "a model's name is checked where it comes in"
        return self._directory / series / model

    def _write(self, place: Path, given: dict[int, str]) -> None:
        place.parent.mkdir(parents=True, exist_ok=True)
        lines = "".join(f"{number} {what}\n" for number, what in given.items())
        write_whole(place, lines.encode())
        sync_folder(place.parent)
