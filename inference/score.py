"""Scores one group: features, request-time features, one model run, post-processing."""

import numpy as np
import numpy.typing as npt

from inference.domain.asked import Group
from inference.domain.fleet import Computed
from inference.domain.inputs import Features, Taken
from inference.domain.served import Served, first_outcome
from inference.ports import Cache, FeatureReader
from kit.clock import Clock
from kit.deadline import Deadline
from kit.redis_pipeline import RedisAway, RedisError


class Score:
    """The verb that predict and shadow have in common."""

    def __init__(
        self,
        *,
        features: FeatureReader,
        cache: Cache,
        clock: Clock,
        rng: np.random.Generator,
        features_timeout_ms: float,
    ) -> None:
        self._features = features
        self._cache = cache
        self._clock = clock
        self._rng = rng
        self._features_timeout_ms = features_timeout_ms

    async def __call__(self, group: Group) -> tuple[Served, Features]:
        """What the group's version says of its rows; nothing is answered or recorded here."""
        loaded, stages = group.loaded, group.loaded.tally.stages
        began_ns, now_us = self._clock.monotonic_ns(), self._clock.now_us()
        features = await self._look_up(group, now_us)
        taken = self._take(group, features)
        looked_up_ns = self._clock.monotonic_ns()
        computed, cached = await self._compute(group, taken)
        computed_ns = self._clock.monotonic_ns()
        verdicts = loaded.post.run(computed.outputs[loaded.score_output], self._rng)
        outcome = first_outcome(taken.outcome, computed.outcome, verdicts.outcome)
        done_ns = self._clock.monotonic_ns()
        stages["features"].observe((looked_up_ns - began_ns) / 1e9)
        stages["queue"].observe(computed.queue_ns / 1e9)
        stages["compute"].observe(computed.compute_ns / 1e9)
        stages["post_processing"].observe((done_ns - computed_ns) / 1e9)
        work_ns = looked_up_ns - began_ns + computed.compute_ns + done_ns - computed_ns
        served = Served(group, now_us, work_ns // 1000, taken, verdicts, outcome, cached)
        return served, features

    async def _look_up(self, group: Group, now_us: int) -> Features:
        if group.loaded.plan is None:
            return {}
        deadline = Deadline.after_ms(self._features_timeout_ms)
        try:
            found = await self._features.look_up(group.loaded.plan, group.rows, now_us, deadline)
        except (RedisAway, RedisError, TimeoutError):
            group.loaded.tally.degrade("features", len(group.rows))
            return None
        return found.columns

    @staticmethod
    def _take(group: Group, features: Features) -> Taken:
        rows = len(group.rows)
        computed = {}
        if group.loaded.on_demand is not None:
            computed = group.loaded.on_demand(group.columns, features, rows)
        return group.loaded.inputs.take(group.columns, features, computed, rows)

    async def _compute(
        self, group: Group, taken: Taken
    ) -> tuple[Computed, npt.NDArray[np.bool_] | None]:
        feeds = group.loaded.inputs.feeds(taken)
        deadlines_ns = np.full(len(group.rows), np.iinfo(np.int64).max)
        if not group.afterwards:
            deadlines = [asked.arrival.deadline_ns for asked in group.owners]
            deadlines_ns = np.repeat(np.array(deadlines, np.int64), group.counts)
        if group.loaded.manifest.cache_ttl_s > 0:
            return await self._cache.compute(group.loaded, feeds, deadlines_ns)
        return await group.loaded.engine.compute(feeds, len(group.rows), deadlines_ns), None
