"""Answers ``POST /predict``: everything that arrived in one event-loop turn is one batch.

Requests of very many rows go one after the other, a group of rows at a time, so that callers who
wait for few rows get their turns in between.
"""

import asyncio
import secrets
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from contracts.frames import is_sampled
from contracts.problems import ProblemCode
from inference.domain.asked import Arrival, Group
from inference.domain.pace import Paces
from inference.domain.served import Served
from inference.ports import Responder, Routed, Scorer
from kit.clock import Clock
from kit.logs import LineBudget, get_logger
from kit.problems import Problem
from kit.tasks import TaskOwner

_log = get_logger(__name__)
TRACED_LINES_PER_S_MAX, LINKS_MAX = 50, 20
ROW_BYTES_MIN = 8
"""``{"a":1},``: a body has no more rows than that. Only where as many would be late are they
counted: it is the quiet time that is to cost nothing."""
LARGE_ROWS = 1_024
"""A request of more rows waits for its like, and not for it the small ones."""
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
        paces: Paces,
        clock: Clock,
        tasks: TaskOwner,
        rows_in_flight_max: int,
        afterwards: Callable[[Served], None],
    ) -> None:
        self._route = route
        self._score = score
        self._record = record
        self._respond = respond
        self._paces = paces
        self._clock = clock
        self._tasks = tasks
        self._rows_max = rows_in_flight_max
        self._afterwards = afterwards
        self._traced_lines = LineBudget(TRACED_LINES_PER_S_MAX)
        self._large: deque[Arrival] = deque()
        self._answering_large = False

    def submit(self, arrivals: Sequence[Arrival]) -> None:
        """Take everything of one event-loop turn; each arrival's ``reply`` is called once."""
        if max([arrival.ask.rows_max for arrival in arrivals]) > LARGE_ROWS:
            self._large += [each for each in arrivals if each.ask.rows_max > LARGE_ROWS]
            arrivals = [each for each in arrivals if each.ask.rows_max <= LARGE_ROWS]
            if not self._answering_large:
                self._answering_large = True
                self._tasks.start("predict_large", self._answer_large)
        if arrivals:
            self._tasks.start("predict", partial(self.answer, arrivals))

    async def _answer_large(self) -> None:
        try:
            while self._large:
                arrival = self._large.popleft()
                if arrival.wanted:  # its caller may have left while it waited
                    await self.answer([arrival], at_once=False)
        finally:
            self._answering_large = False

    async def answer(self, arrivals: Sequence[Arrival], *, at_once: bool = True) -> None:
        """Answer them all, group by group or all ``at_once``; a request that is bad answers for
        itself."""
        try:
            routed = self._route(self._admitted(arrivals))
            for group in routed.groups:
                group.loaded.in_use += 1  # before anything is awaited: a flip may close it
            for arrival, problem in routed.refused:
                self._respond.refuse(arrival, problem)
        except Exception:  # noqa: BLE001 - the edge that answers
            self._fail(arrivals)
            return
        if at_once and len(routed.groups) > 1:
            await asyncio.gather(*map(self._serve, routed.groups))
        else:
            for group in routed.groups:
                await self._serve(group)

    def _admitted(self, arrivals: Sequence[Arrival]) -> Sequence[Arrival]:
        """Those that can be answered in time; the others are told so at once."""
        now_ns = self._clock.monotonic_ns()
        rows_max = sum(
            [each.ask.rows_max or len(each.ask.body) // ROW_BYTES_MIN for each in arrivals]
        )
        left_ns = min([arrival.deadline_ns for arrival in arrivals]) - now_ns
        if (
            left_ns > 0
            and self._paces.pending + rows_max <= self._rows_max
            and self._paces.none_late(rows_max, _SHARE_OF_DEADLINE * left_ns / 1e9)
        ):
            return arrivals
        return self._admitted_singly(arrivals, now_ns)

    def _admitted_singly(self, arrivals: Sequence[Arrival], now_ns: int) -> Sequence[Arrival]:
        """The same, row by row: each waits for the rows of its model that came before it."""
        admitted: list[Arrival] = []
        ahead: dict[str, int] = {}
        pending = self._paces.pending
        for arrival in arrivals:
            model, left_ns = arrival.ask.target, arrival.deadline_ns - now_ns
            rows = arrival.ask.rows_max or max(1, arrival.ask.body.count(b"{") - 1)
            pace, before = self._paces.known(model), ahead.get(model, 0)
            # Alone it is never late: it cannot come at a better time.
            late = pace.pending + before > 0 and pace.late(
                before + rows, _SHARE_OF_DEADLINE * left_ns / 1e9
            )
            full = pending > 0 and pending + rows > self._rows_max
            if left_ns <= 0 or full or late:
                refusal = _refusal(left_ns, pace.wait_s(before + rows))
                self._respond.refuse(arrival, refusal)
                continue
            admitted.append(arrival)
            ahead[model] = before + rows
            pending += rows
        return admitted

    async def _serve(self, group: Group) -> None:
        rows = len(group.rows)
        self._paces.accept(group.model.name, rows, self._clock.monotonic_ns())
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
            self._paces.answer(group.model.name, rows, self._clock.monotonic_ns())

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


def _refusal(left_ns: float, wait_s: float) -> Problem:
    if left_ns <= 0:
        return Problem(ProblemCode.DEADLINE_EXCEEDED, "The deadline has passed.", stage="queue")
    return Problem(
        ProblemCode.OVERLOADED,
        "The answer would come after the deadline.",
        retry_after_s=max(1, round(wait_s)),
    )
