"""One key's history: every row about it, what was known at an instant, and what is known now."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from contracts.served import STATUSES
from feature_store.domain.as_of import Mode
from feature_store.domain.intake import parse_value
from feature_store.domain.schema import ARROW_TYPES, INSTANT, Int64s
from feature_store.ports import HistoricalEngine, LogReader
from shared_features import MissingField, View

ROWS_MAX = 200


@dataclass(frozen=True, slots=True)
class Recalled:
    """What the log says about one key of one view."""

    rows: list[dict[str, Any]]
    """The newest rows first, at most 200, with their times and whether they delete."""
    rows_total: int
    answers: dict[str, dict[str, Any]]
    """``then``, ``then_corrected`` (event mode) and ``now``: feature -> value and status."""


def recall(
    view: View,
    key: Mapping[str, Any],
    then_us: int,
    now_us: int,
    log: LogReader,
    engine: HistoricalEngine,
) -> Recalled:
    """What was known about ``key`` at ``then_us``, and what is now. Raises ``MissingField`` and
    ``ValueError`` for a key that is not one."""
    arrays = []
    for name, dtype in view.entity.keys.items():
        if name not in key:
            raise MissingField(name, f"view {view.name!r}")
        value = None if key[name] is None else parse_value(key[name], dtype, name)
        stored = pa.int64() if dtype == "timestamp" else ARROW_TYPES[dtype]
        arrays.append(pa.array([value], stored).cast(ARROW_TYPES[dtype]))
    rows = log.read(view.source)
    for name, array in zip(view.entity.keys, arrays, strict=True):
        rows = rows.filter(pc.equal(rows[name], array[0]))
    asked: list[tuple[str, int, Mode]] = [
        ("then", then_us, "known"),
        ("then_corrected", then_us, "event"),
        ("now", now_us, "known"),
    ]
    answers = {}
    for label, at_us, mode in asked:
        at: Int64s = np.array([at_us], np.int64)
        joined = engine.join(view, log, arrays, at, mode, None)
        answers[label] = {
            feature: {
                "value": column.values[0].as_py(),
                "status": STATUSES[int(column.status[0])],
            }
            for feature, column in joined.items()
        }
    newest = rows.slice(max(0, len(rows) - ROWS_MAX))
    shown = [_shown(row) for row in reversed(newest.to_pylist())]
    return Recalled(shown, len(rows), answers)


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    times = {
        "event_time": row["__event_us"],
        "created_time": row["__created_us"],
        "ingested_time": row["__ingested_us"],
    }
    return {
        **{name: pa.scalar(at, pa.int64()).cast(INSTANT).as_py() for name, at in times.items()},
        "seq": row["__seq"],
        "deleted": row["__deleted"],
        "event_id": row["__event_id"],
        **{name: value for name, value in row.items() if not name.startswith("__")},
    }
