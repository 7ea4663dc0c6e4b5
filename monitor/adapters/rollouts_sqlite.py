"""The rows of a rollout."""

from collections import defaultdict
from collections.abc import Iterable

import numpy as np
import orjson

from monitor.adapters.blocks_sqlite import Stack, select
from monitor.adapters.database_sqlite import Database
from monitor.domain.edges import Floats
from monitor.domain.exposure import Exposed, codes

_LANES = (
    "SELECT id, step, version = :candidate FROM lanes "
    "WHERE model = :model AND rollout_id = :rollout AND version IN (:baseline, :candidate)"
)
_LATEST = f"""
SELECT id, rows FROM blocks WHERE lane IN (SELECT id FROM ({_LANES})) ORDER BY id DESC
"""  # noqa: S608 - constants
_SINCE = f"b.lane IN (SELECT id FROM ({_LANES})) AND b.id >= :since"  # noqa: S608 - constants


class SqliteRollouts:
    """Port ``Rollouts``."""

    def __init__(self, database: Database, attribution_us: int) -> None:
        self._database = database
        self._attribution_us = attribution_us

    def exposed(
        self, model: str, rollout_id: str, baseline: str, candidate: str, metric: str | None,
        rows_max: int,
    ) -> tuple[Exposed, list[str]]:  # fmt: skip
        """Rows of both versions, the latest ``rows_max``, in order of arrival, and the segments of
        each row, joined as in the index."""
        reader = self._database.reader
        names = {
            "model": model, "rollout": rollout_id, "baseline": baseline, "candidate": candidate,
        }  # fmt: skip
        since = _since(reader.execute(_LATEST, names), rows_max)
        rows = select(reader, _SINCE, {**names, "since": since})
        lanes = np.array(reader.execute(_LANES, names).fetchall(), np.int64).reshape(-1, 3)
        lanes = lanes[np.argsort(lanes[:, 0])]
        lane = lanes[np.searchsorted(lanes[:, 0], rows.lane)]
        records, units = rows.records, rows.units
        business = np.zeros(len(records))
        if metric:
            business = self._business(model, metric, rows)
        found = Exposed(
            key=codes(records["key"].tolist()),
            unit=codes(units),
            step=lane[:, 1],
            at_us=records["event_us"].astype(np.int64),
            candidate=lane[:, 2].astype(bool),
            outcome=records["outcome"].astype(np.int64),
            latency_us=records["latency_us"].astype(np.int64),
            score=records["score"].astype(np.float64),
            predicted=records["predicted"].astype(np.int64),
            label=rows.label,
            business=business,
        )
        latest = np.arange(len(found)) >= len(found) - rows_max
        return found.only(latest), rows.segments[-rows_max:]

    def _business(self, model: str, metric: str, rows: Stack) -> Floats:
        """What happened after each row [n], or because of it, added up: events that name the row,
        and those of its unit within the time of attribution."""
        total = np.zeros(len(rows.records))
        at_key: dict[bytes, list[int]] = defaultdict(list)
        for at, key in enumerate(rows.records["key"].tolist()):
            at_key[key].append(at)
        of_unit: dict[str, list[tuple[int, float]]] = defaultdict(list)
        for key, unit, event_us, value in self._database.reader.execute(
            "SELECT key, unit, event_us, value FROM business_events "
            "WHERE model = ? AND name = ? ORDER BY event_us",
            (model, metric),
        ):
            if key is not None:
                for at in at_key.get(key, ()):
                    total[at] += value
            else:
                of_unit[unit].append((event_us, value))
        served_us = rows.records["event_us"].tolist()
        for at, unit in enumerate(rows.units if of_unit else ()):
            from_us = served_us[at]
            until_us = from_us + self._attribution_us
            total[at] += sum(v for us, v in of_unit.get(unit, ()) if from_us <= us <= until_us)
        return total

    def missing(self) -> int:
        """Records that producers numbered and that never came."""
        rows = self._database.reader.execute("SELECT holes FROM producers WHERE holes <> '[]'")
        return sum(last - first + 1 for (holes,) in rows for first, last in orjson.loads(holes))


def _since(blocks: Iterable[tuple[int, int]], rows_max: int) -> int:
    """The first of the latest blocks (id, rows) that together hold ``rows_max`` rows."""
    held, first = 0, 0
    for first, rows in blocks:  # noqa: B007 - the last one looked at
        held += rows
        if held >= rows_max:
            break
    return first
