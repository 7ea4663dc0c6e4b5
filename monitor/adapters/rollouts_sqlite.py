"""The rows of a rollout."""

import numpy as np
import orjson

from monitor.adapters.database_sqlite import Database
from monitor.domain.exposure import Exposed, codes

_EXPOSED = """
SELECT p.key, p.unit, l.step, p.event_us, l.version = :candidate, p.outcome, p.latency_us, p.score,
       p.predicted, p.label, p.segments
FROM lanes l JOIN predictions p ON p.lane = l.id AND p.rollout
WHERE l.model = :model AND l.rollout_id = :rollout AND l.version IN (:baseline, :candidate)
ORDER BY p.id DESC LIMIT :limit
"""
_BUSINESS = """
SELECT p.key, p.unit, sum(e.value)
FROM lanes l JOIN predictions p ON p.lane = l.id AND p.rollout
JOIN business_events e ON e.model = l.model AND e.name = :metric AND (
  e.key = p.key OR (e.key IS NULL AND e.unit = p.unit
  AND e.event_us BETWEEN p.event_us AND p.event_us + :window))
WHERE l.model = :model AND l.rollout_id = :rollout GROUP BY p.id
"""


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
        names = {"model": model, "rollout": rollout_id, "baseline": baseline}
        names |= {"candidate": candidate}
        rows = self._database.reader.execute(_EXPOSED, {**names, "limit": rows_max}).fetchall()
        columns = list(zip(*reversed(rows), strict=True)) if rows else [()] * 11
        value = self._business(model, rollout_id, metric) if metric else {}
        found = Exposed(
            key=codes(columns[0]),
            unit=codes(columns[1]),
            step=np.array(columns[2], dtype=np.int64),
            at_us=np.array(columns[3], dtype=np.int64),
            candidate=np.array(columns[4], dtype=bool),
            outcome=np.array(columns[5], dtype=np.int64),
            latency_us=np.array(columns[6], dtype=np.int64),
            score=np.array(columns[7], dtype=np.float64),
            predicted=np.array(columns[8], dtype=np.int64),
            label=np.array(columns[9], dtype=np.float64),
            business=np.array([value.get(key, 0.0) for key in columns[0]], dtype=np.float64),
        )
        return found, list(columns[10])

    def _business(self, model: str, rollout_id: str, metric: str) -> dict[bytes, float]:
        names = {"model": model, "rollout": rollout_id, "metric": metric}
        rows = self._database.reader.execute(_BUSINESS, {**names, "window": self._attribution_us})
        return {key: float(value) for key, _, value in rows}

    def missing(self) -> int:
        """Records that producers numbered and that never came."""
        rows = self._database.reader.execute("SELECT holes FROM producers WHERE holes <> '[]'")
        return sum(last - first + 1 for (holes,) in rows for first, last in orjson.loads(holes))
