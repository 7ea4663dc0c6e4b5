"""Labels that came before their prediction find it when it is stored."""

import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from monitor.adapters.blocks_sqlite import label_rows
from monitor.domain.blocks import Block

_CHUNK = 500
_MARKS = ",".join("?" * _CHUNK)
# The marks are question marks only, always as many: one statement that is prepared once.
_BY_KEY = f"SELECT id, key, label, label_us FROM labels WHERE model = ? AND key IN ({_MARKS})"  # noqa: S608
_BY_UNIT = (
    "SELECT id, unit, predicted_us, label, label_us FROM labels "  # noqa: S608
    f"WHERE waiting AND model = ? AND predicted_us BETWEEN ? AND ? AND unit IN ({_MARKS})"
)


def take_labels(
    writer: sqlite3.Connection, model: str, number: int, block: Block, near_us: int
) -> None:
    """Label the rows of a stored block by what is known of them already."""
    at_key = {key: at for at, key in enumerate(block.records["key"].tolist())}
    event_us = block.records["event_us"].tolist()
    units: dict[str, list[int]] = defaultdict(list)
    for at, unit in enumerate(block.units):
        units[unit].append(at)
    done: list[int] = []
    placed: list[tuple[int, float, int]] = []
    for label_id, key, *label in _found(writer, _BY_KEY, (model,), list(at_key)):
        done.append(label_id)
        placed.append((at_key[key], *label))
    within = (model, min(event_us) - near_us, max(event_us) + near_us)
    for label_id, unit, predicted_us, *label in _found(writer, _BY_UNIT, within, list(units)):
        near = [at for at in units[unit] if abs(event_us[at] - predicted_us) <= near_us]
        placed += [(at, *label) for at in near]
        done += [label_id] * bool(near)
    label_rows(writer, number, placed)
    writer.executemany(
        "UPDATE labels SET waiting = 0 WHERE waiting AND id = ?", [(one,) for one in done]
    )


def _found(
    writer: sqlite3.Connection, query: str, first: tuple[object, ...], names: list[Any]
) -> Iterator[tuple[Any, ...]]:
    for start in range(0, len(names), _CHUNK):
        chunk = names[start : start + _CHUNK]
        # The last one is named again where the marks are more.
        yield from writer.execute(query, (*first, *chunk, *chunk[-1:] * (_CHUNK - len(chunk))))
