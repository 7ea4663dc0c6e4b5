"""Scores one group: features, request-time features, one model run, post-processing."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from contracts.served import OUTCOMES
from inference.domain.asked import Group
from inference.domain.fleet import Computed
from inference.domain.inputs import FeatureColumn, Features, Taken
from inference.domain.instances import Row
from inference.domain.served import Served, first_outcome
from inference.ports import Cache, FeatureReader, FeatureRows
from kit.clock import Clock
from kit.redis_pipeline import RedisAway, RedisError

SAMPLE_EVERY = 64
"""Of one group in so many, the first row is logged with what the verifier needs to replay it."""


class _Nothing:
    """What is found where nothing is looked up."""

    columns: ClassVar[Mapping[str, FeatureColumn]] = {}
    applied_seq = 0


NOTHING = _Nothing()


_NEVER_NS = np.iinfo(np.int64).max
_MODEL_ERROR = OUTCOMES.index("model_error")


def _keyed_rows(group: Group) -> Sequence[Row]:
    keys = group.loaded.timestamp_keys
    if not keys:
        return group.rows
    return [
        {**row, **{key: group.columns[key][place] for key in keys}}
        for place, row in enumerate(group.rows)
    ]


def _deadlines_ns(group: Group) -> npt.NDArray[np.int64]:
    if group.afterwards:
        return np.full(len(group.rows), _NEVER_NS)
    deadlines = np.array([asked.arrival.deadline_ns for asked in group.owners], np.int64)
    if len(group.owners) == len(group.rows):
        return deadlines
    return np.repeat(deadlines, group.counts)


class Score:
    """The verb that predict and shadow have in common."""

    def __init__(
        self,
        *,
        features: FeatureReader,
        cache: Cache,
        clock: Clock,
        rng: np.random.Generator,
    ) -> None:
        self._features = features
        self._cache = cache
        self._clock = clock
        self._rng = rng
        self._groups = 0

    async def __call__(self, group: Group) -> tuple[Served, Features]:
        """What the group's version says of its rows; nothing is answered or recorded here."""
        loaded, stages = group.loaded, group.loaded.tally.stages
        began_ns, now_us = self._clock.monotonic_ns(), self._clock.now_us()
        found = await self._look_up(group, now_us)
        features = found if found is None else found.columns
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
        served = Served(
            group=group,
            now_us=now_us,
            work_us=work_ns // 1000,
            taken=taken,
            verdicts=verdicts,
            outcome=outcome,
            failed=bool(np.count_nonzero(outcome)),
            cached=cached,
            watermark=self._sampled(found),
        )
        return served, features

    def _sampled(self, found: FeatureRows | None) -> int | None:
        """The watermark, for one group in ``SAMPLE_EVERY`` of those that read the store."""
        if found is None or found is NOTHING:
            return None
        self._groups += 1
        return None if self._groups % SAMPLE_EVERY else found.applied_seq

    async def _look_up(self, group: Group, now_us: int) -> FeatureRows | None:
        """What the store has; None when it is away."""
        if group.loaded.plan is None:
            return NOTHING
        try:
            return await self._features.look_up(group.loaded.plan, _keyed_rows(group), now_us)
        except (RedisAway, RedisError, TimeoutError):
            group.loaded.tally.degrade("features", len(group.rows))
            return None

    @staticmethod
    def _take(group: Group, features: Features) -> Taken:
        rows, loaded = len(group.rows), group.loaded
        if loaded.request_time is None:
            return loaded.inputs.take(group.columns, features, {}, rows)
        computed, failed = loaded.request_time.compute(group.columns, features, rows)
        taken = loaded.inputs.take(group.columns, features, computed, rows)
        if failed is not None:
            taken.outcome[failed] = _MODEL_ERROR
        return taken

    async def _compute(
        self, group: Group, taken: Taken
    ) -> tuple[Computed, npt.NDArray[np.bool_] | None]:
        feeds = group.loaded.inputs.feeds(taken)
        deadlines_ns = _deadlines_ns(group)
        if group.loaded.manifest.cache_ttl_s > 0:
            return await self._cache.compute(group.loaded, feeds, deadlines_ns)
        return await group.loaded.engine.compute(feeds, len(group.rows), deadlines_ns), None
