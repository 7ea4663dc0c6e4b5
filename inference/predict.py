"""Answers ``POST /predict``: everything that arrived in one event-loop turn is one batch."""

import asyncio
import secrets
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from contracts.frames import is_sampled
from contracts.problems import ProblemCode
from inference.domain.asked import Arrival, Group
from inference.domain.pace import Pace
from inference.domain.served import Served
from inference.ports import Responder, Routed, Scorer
from kit.clock import Clock
from kit.logs import LineBudget, get_logger
from kit.problems import Problem
from kit.tasks import TaskOwner

_log = get_logger(__name__)
TRACED_LINES_PER_S_MAX, LINKS_MAX = 50, 20
_SHARE_OF_DEADLINE = 0.9
"""A row that is predicted to wait longer than this share of what it has left is refused now."""


class Predict:
    """The verb: route, admit, score, record, answer; a whole batch at once."""

    def __init__(
        self,
        *,
        route: Callable[[Sequence[Arrival]], Routed],
        score: Scorer,
        record: Callable[[Served], None],
        respond: Responder,
        pace: Pace,
        clock: Clock,
        tasks: TaskOwner,
        rows_in_flight_max: int,
        afterwards: Callable[[Served], None],
    ) -> None:
        self._route = route
        self._score = score
        self._record = record
        self._respond = respond
        self._pace = pace
        self._clock = clock
        self._tasks = tasks
        self._rows_max = rows_in_flight_max
        self._afterwards = afterwards
        self._traced_lines = LineBudget(TRACED_LINES_PER_S_MAX)

    def submit(self, arrivals: Sequence[Arrival]) -> None:
        """Take everything of one event-loop turn; each arrival's ``reply`` is called once."""
        self._tasks.start("predict", partial(self.answer, arrivals))

    async def answer(self, arrivals: Sequence[Arrival]) -> None:
        """Answer them all; a request that is bad answers for itself."""
        try:
            routed = self._route(self._admitted(arrivals))
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

    def _admitted(self, arrivals: Sequence[Arrival]) -> Sequence[Arrival]:
        """Those that can be answered in time; the others are told so at once."""
        count = len(arrivals)
        wait_ns = self._pace.wait_s(count) * 1e9
        now_ns = self._clock.monotonic_ns()
        full = self._pace.pending + count > self._rows_max
        soonest_ns = min([arrival.deadline_ns for arrival in arrivals]) - now_ns
        if not full and wait_ns <= _SHARE_OF_DEADLINE * soonest_ns:
            return arrivals
        admitted = []
        for arrival in arrivals:
            left_ns = arrival.deadline_ns - now_ns
            if full or wait_ns > _SHARE_OF_DEADLINE * left_ns:
                self._respond.refuse(arrival, _refusal(left_ns, wait_ns))
            else:
                admitted.append(arrival)
        return admitted

    async def _serve(self, group: Group) -> None:
        rows = len(group.rows)
        self._pace.accept(rows, self._clock.monotonic_ns())
        try:
            served, features = await self._score(group)
            scored_ns = self._clock.monotonic_ns()
            self._record(served)
            recorded_ns = self._clock.monotonic_ns()
            self._respond.answer(served, features)
            self._afterwards(served)
            links = [a.arrival.ask.traceparent for a in group.owners if a.arrival.ask.traceparent]
            if links:
                self._log_traces(group, links)
            tally = group.loaded.tally
            tally.stages["record"].observe((recorded_ns - scored_ns) / 1e9)
            tally.batch_rows.observe(rows)
            tally.outcomes(served.outcome)
        except Exception:  # noqa: BLE001 - the edge that answers; other groups are not concerned
            self._fail(asked.arrival for asked in group.owners)
        finally:
            group.loaded.in_use -= 1
            self._pace.answer(rows, self._clock.monotonic_ns())

    def _log_traces(self, group: Group, links: Sequence[str]) -> None:
        """Say which requests of sampled traces shared this batch."""
        sampled = [link for link in links if is_sampled(link)][:LINKS_MAX]
        if sampled and self._traced_lines.take():
            _log.info(
                "batch_answered",
                batch=secrets.token_hex(8),
                model=group.model.name,
                version=group.loaded.version,
                rows=len(group.rows),
                links=sampled,
            )

    def _fail(self, arrivals: Iterable[Arrival]) -> None:
        _log.exception("predict_failed")
        for arrival in arrivals:
            self._respond.refuse(arrival, Problem(ProblemCode.INTERNAL, "The service failed."))


def _refusal(left_ns: float, wait_ns: float) -> Problem:
    if left_ns <= 0:
        return Problem(ProblemCode.DEADLINE_EXCEEDED, "The deadline has passed.", stage="queue")
    return Problem(
        ProblemCode.OVERLOADED,
        "The answer would come after the deadline.",
        retry_after_s=max(1, round(wait_ns / 1e9)),
    )
