"""What the log says about a rollout: evidence for the registry, never a decision."""

from contracts.evidence import Evidence, EvidenceQuery
from kit.clock import Clock
from monitor.domain.exposure import Weighed, by_segment, weigh
from monitor.ports import EventStream, Offload, Rollouts, StreamAway

AWAY_LAG_S = 86_400.0
"""What is said of the lag while the stream cannot be asked: reason enough to hold."""
ROWS_MAX = 1_000_000
"""Rows weighed at a time, the latest ones; bounds memory and the time of an answer."""


class Weigh:
    """Answers ``POST /v1/evidence``."""

    def __init__(
        self, rollouts: Rollouts, stream: EventStream, offload: Offload, clock: Clock
    ) -> None:
        self._rollouts = rollouts
        self._stream = stream
        self._offload = offload
        self._clock = clock

    async def evidence(self, query: EvidenceQuery) -> Evidence:
        """Estimates, intervals and e-values for every guard asked about."""
        try:
            _, lag_s = await self._stream.backlog()
        except StreamAway:
            lag_s = AWAY_LAG_S
        return await self._offload(lambda: self._weigh(query, lag_s))

    def _weigh(self, query: EvidenceQuery, lag_s: float) -> Evidence:
        metrics = [guard.metric for guard in query.guards if guard.kind == "business"]
        rows, segments = self._rollouts.exposed(
            query.model,
            query.rollout_id,
            query.baseline_version,
            query.candidate_version,
            metrics[0] if metrics else None,
            ROWS_MAX,
        )
        known = Weighed(
            as_of_us=self._clock.now_us(),
            lag_s=lag_s,
            gaps=self._rollouts.missing(),
            segments=by_segment(rows, segments) if query.paired else {},
            truncated=len(rows) >= ROWS_MAX,
        )
        return weigh(query, rows, known)
