"""Answers ``POST /predict``: everything that arrived in one event-loop turn is one batch."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from functools import partial

import numpy as np

from contracts.problems import ProblemCode
from inference.domain.asked import Arrival, Group
from inference.domain.fleet import Computed
from inference.domain.inputs import Features, Taken
from inference.domain.served import Served, first_outcome
from inference.ports import FeatureReader, Responder, Routed
from kit.clock import Clock
from kit.deadline import Deadline
from kit.logs import get_logger
from kit.problems import Problem
from kit.redis_pipeline import RedisAway, RedisError
from kit.tasks import TaskOwner

_log = get_logger(__name__)


class Predict:
    """The verb: route, look up, compute, post-process, record, answer; a whole batch at once."""

    def __init__(
        self,
        *,
        route: Callable[[Sequence[Arrival]], Routed],
        features: FeatureReader,
        record: Callable[[Served], None],
        respond: Responder,
        clock: Clock,
        tasks: TaskOwner,
        rng: np.random.Generator,
        features_timeout_ms: float,
        afterwards: Callable[[Served], None] = lambda _: None,
    ) -> None:
        self._route = route
        self._features = features
        self._record = record
        self._respond = respond
        self._clock = clock
        self._tasks = tasks
        self._rng = rng
        self._features_timeout_ms = features_timeout_ms
        self._afterwards = afterwards

    def submit(self, arrivals: Sequence[Arrival]) -> None:
        """Take everything of one event-loop turn; each arrival's ``reply`` is called once."""
        self._tasks.start("predict", partial(self.answer, arrivals))

    async def answer(self, arrivals: Sequence[Arrival]) -> None:
        """Answer them all; a request that is bad answers for itself."""
        try:
            routed = self._route(arrivals)
            for group in routed.groups:
                group.loaded.in_use += 1  # before anything is awaited: a flip may close it
            for arrival, problem in routed.refused:
                self._respond.refuse(arrival, problem)
        except Exception:  # noqa: BLE001 - the edge that answers
            self._fail(arrivals)
            return
        if len(routed.groups) == 1:
            await self._serve(routed.groups[0])
        else:
            await asyncio.gather(*map(self._serve, routed.groups))

    def _fail(self, arrivals: Iterable[Arrival]) -> None:
        _log.exception("predict_failed")
        for arrival in arrivals:
            self._respond.refuse(arrival, Problem(ProblemCode.INTERNAL, "The service failed."))

    async def _serve(self, group: Group) -> None:
        try:
            await self._serve_all(group)
        except Exception:  # noqa: BLE001 - the edge that answers; other groups are not concerned
            self._fail(asked.arrival for asked in group.owners)
        finally:
            group.loaded.in_use -= 1

    async def _serve_all(self, group: Group) -> None:
        loaded, tally = group.loaded, group.loaded.tally
        began_ns = self._clock.monotonic_ns()
        now_us = self._clock.now_us()
        features = await self._look_up(group, now_us)
        taken = self._take(group, features)
        looked_up_ns = self._clock.monotonic_ns()
        computed = await self._compute(group, taken)
        computed_ns = self._clock.monotonic_ns()
        verdicts = loaded.post.run(computed.outputs[loaded.score_output], self._rng)
        outcome = first_outcome(taken.outcome, computed.outcome, verdicts.outcome)
        done_ns = self._clock.monotonic_ns()
        work_ns = looked_up_ns - began_ns + computed.compute_ns + done_ns - computed_ns
        served = Served(group, now_us, work_ns // 1000, taken, verdicts, outcome)
        self._record(served)
        recorded_ns = self._clock.monotonic_ns()
        self._respond.answer(served, features)
        self._afterwards(served)
        stages = tally.stages
        stages["features"].observe((looked_up_ns - began_ns) / 1e9)
        stages["queue"].observe(computed.queue_ns / 1e9)
        stages["compute"].observe(computed.compute_ns / 1e9)
        stages["post_processing"].observe((done_ns - computed_ns) / 1e9)
        stages["record"].observe((recorded_ns - done_ns) / 1e9)
        tally.batch_rows.observe(len(group.rows))
        tally.outcomes(outcome)

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

    @staticmethod
    async def _compute(group: Group, taken: Taken) -> Computed:
        deadlines = [asked.arrival.deadline_ns for asked in group.owners]
        deadlines_ns = np.repeat(np.array(deadlines, np.int64), group.counts)
        return await group.loaded.engine.compute(
            group.loaded.inputs.feeds(taken), len(group.rows), deadlines_ns
        )
