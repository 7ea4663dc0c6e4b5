"""The online reader: the one piece of this service that inference runs in its own process.

    reader = OnlineReader(pipelined_redis, namespace="ll")       # no I/O
    plan = reader.plan(catalogue.compile("delay_v2"))            # once, at model load
    rows = await reader.look_up(plan, entity_rows, now_us)       # one round trip
    column = rows.columns["carrier_late:share_7d"]               # .values .status .age_us .exact

A store that is away, or lost its data and is not filled again yet, raises ``RedisAway`` (or
``TimeoutError`` at the deadline); it is never a silent null. What to put in its place is each
feature's declared policy, which the caller applies.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from feature_store.domain.columns import Column
from feature_store.domain.plan import FeaturePlan, LookedUp, NotFilled, Wanted
from kit.deadline import Deadline
from kit.redis_pipeline import RedisAway, RedisError
from shared_features import CompiledService

__all__ = ["Column", "FeaturePlan", "LookedUp", "OnlineReader", "Pipeline"]

ROWS_MAX = 10_000


class Pipeline(Protocol):
    """What the reader needs of ``kit.redis_pipeline.PipelinedRedis``."""

    def execute_each(self, asked: Sequence[Wanted]) -> "asyncio.Future[list[Any]]":
        """Send each command for each of its keys, together; one future for all replies."""


class OnlineReader:
    """Looks features up. Stateless but for its connection; safe to share in one event loop."""

    def __init__(self, pipeline: Pipeline, namespace: str = "ll") -> None:
        self._pipeline = pipeline
        self._namespace = namespace

    def plan(self, service: CompiledService) -> FeaturePlan:
        """How this service is read; keep it as long as the model."""
        return FeaturePlan(service, self._namespace)

    async def look_up(
        self,
        plan: FeaturePlan,
        entity_rows: Sequence[Mapping[str, Any]],
        now_us: int,
        deadline: Deadline | None = None,
    ) -> LookedUp:
        """The features of each row as known at ``now_us``, in one round trip.

        Raises ``MissingField`` for an absent key field, ``InvalidKey`` for one of the wrong type,
        ``ValueError`` for more than 10,000 rows, ``RedisAway`` and ``TimeoutError``.
        """
        if len(entity_rows) > ROWS_MAX:
            raise ValueError(f"at most {ROWS_MAX} entity rows in one look-up")
        question = plan.ask(entity_rows, now_us)
        if not question.wanted:
            return question.answer([])
        asked = self._pipeline.execute_each(question.wanted)
        if deadline is None:
            replies = await asked
        else:
            async with asyncio.timeout(deadline.remaining_s()):
                replies = await asked
        if RedisError in set(map(type, replies)):
            raise RedisAway("the store answered with an error")
        try:
            return question.answer(replies)
        except NotFilled as error:
            raise RedisAway(str(error)) from error
