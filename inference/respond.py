"""Gives each caller its own answer out of a group's."""

import numpy as np

from contracts.frames import Answer
from contracts.problems import ProblemCode
from contracts.served import OUTCOMES
from inference.domain.answers import (
    ROW_PROBLEMS,
    TAILS,
    lacking_detail,
    lacking_row,
    mixed_body,
    tail_of,
)
from inference.domain.asked import Arrival, Asked
from inference.domain.explain import degraded, degraded_rows, explained
from inference.domain.inputs import Features
from inference.domain.served import Served
from kit.clock import Clock
from kit.problems import Problem, problem_body

_LACKING = tuple(OUTCOMES.index(name) for name in ("feature_missing", "dependency"))
_ELSEWHERE = frozenset({ProblemCode.OVERLOADED, ProblemCode.MODEL_UNAVAILABLE})
"""Nothing was computed: another replica may be asked."""


def cache_of(served: Served, start: int, end: int) -> str:
    """Whether these rows were all remembered; ``off`` where the version keeps no answers."""
    if served.cached is None:
        return "off"
    return "hit" if served.cached[start:end].all() else "miss"


class Respond:
    """The verb; it alone calls ``Arrival.reply``, and once."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.refused: dict[str, int] = {}
        """Requests answered with a problem, by its code."""

    def refuse(self, arrival: Arrival, problem: Problem) -> None:
        """Answer one request with a problem, unless it has been answered."""
        if not arrival.wanted:
            return
        arrival.wanted = False
        code = problem.code.value
        self.refused[code] = self.refused.get(code, 0) + 1
        retryable = problem.code in _ELSEWHERE
        headers = "\n".join(f"{name}: {value}" for name, value in problem.headers().items())
        body = problem_body(problem, arrival.ask.request_id.hex(), "/predict")
        arrival.reply(Answer(problem.code.status, body, retryable, headers.encode(), arrival.rows))

    def answer(self, served: Served, features: Features) -> None:
        """Answer the owners of a group; a row that failed answers for itself."""
        group = served.group
        writer = group.loaded.writer(group.arm.variant)
        pieces = writer.rows(served.verdicts, served.outcome)
        if served.failed:
            for row in np.flatnonzero(np.isin(served.outcome, _LACKING)).tolist():
                name = OUTCOMES[served.outcome[row]]
                pieces[row] = lacking_row(name, group.loaded.inputs.lacking(served.taken, row))
        bad = degraded_rows(served.taken)
        fine, start, off = 0, 0, TAILS["off"]
        for asked, count in zip(group.owners, group.counts, strict=True):
            end = start + count
            arrival = asked.arrival
            if asked.mixed is not None:
                self._gather(asked, served, features, pieces, start, end)
            elif served.failed and served.outcome[start:end].all():
                self._refuse_row(asked, served, start)
            elif arrival.wanted:
                ask, tail = arrival.ask, off
                if ask.explain or (bad is not None and bad[start:end].any()):
                    tail = self._tail(asked, served, features, start, end)
                elif served.cached is not None:
                    tail = TAILS[cache_of(served, start, end)]
                fine += 1
                arrival.wanted = False
                inner = pieces[start] if count == 1 else b",".join(pieces[start:end])
                body = writer.whole(ask.request_id, inner, tail)
                arrival.reply(Answer(200, body, False, b"", arrival.rows))
            start = end
        self._count(served, fine)

    def _tail(
        self, asked: Asked, served: Served, features: Features, start: int, end: int
    ) -> bytes:
        plan = served.group.loaded.inputs
        shown = None
        if asked.arrival.ask.explain:
            shown = explained(plan, served.taken, features, start, end)
        return tail_of(
            cache_of(served, start, end), degraded(plan, served.taken, start, end), shown
        )

    def _refuse_row(self, asked: Asked, served: Served, row: int) -> None:
        outcome = int(served.outcome[row])
        name = OUTCOMES[outcome]
        plan = served.group.loaded.inputs
        lacking = plan.lacking(served.taken, row) if outcome in _LACKING else ()
        if asked.arrival.wanted:
            served.group.loaded.tally.request(ROW_PROBLEMS[name].value)
        self.refuse(asked.arrival, Problem(ROW_PROBLEMS[name], lacking_detail(name, lacking)))

    def _gather(
        self,
        asked: Asked,
        served: Served,
        features: Features,
        pieces: list[bytes],
        start: int,
        end: int,
    ) -> None:
        """Keep these rows until the request's other groups have answered; the last one replies."""
        mixed, group = asked.mixed, served.group
        assert mixed is not None
        writer = group.loaded.writer(group.arm.variant)
        for row in range(start, end):
            mixed.pieces[group.indices[row]] = (pieces[row], writer)
        mixed.remembered.add(cache_of(served, start, end))
        mixed.degraded += degraded(group.loaded.inputs, served.taken, start, end)
        if asked.arrival.ask.explain:
            told = explained(group.loaded.inputs, served.taken, features, start, end)
            for row, values in enumerate(told, start):
                mixed.features[group.indices[row]] = values
        mixed.fine += int((served.outcome[start:end] == 0).sum())
        asked.rows_left -= end - start
        if asked.rows_left or not asked.arrival.wanted:
            return
        if not mixed.fine:
            self._refuse_row(asked, served, start)
            return
        asked.arrival.wanted = False
        ask = asked.arrival.ask
        cache = next(said for said in ("miss", "hit", "off") if said in mixed.remembered)
        tail = tail_of(cache, mixed.degraded, mixed.features if ask.explain else None)
        whole = [piece for piece in mixed.pieces if piece is not None]
        body = mixed_body(group.model.name, ask.request_id, whole, tail)
        asked.arrival.reply(Answer(200, body, rows=asked.arrival.rows))
        group.loaded.tally.request("ok")

    def _count(self, served: Served, fine: int) -> None:
        tally = served.group.loaded.tally
        now_ns = self._clock.monotonic_ns()
        tally.duration.observe_all(
            [(now_ns - asked.arrival.arrived_ns) / 1e9 for asked in served.group.owners]
        )
        if fine:
            tally.request("ok", fine)
