"""Answers ``infer`` of the Open Inference Protocol V2 (REST), over HTTP and over frames alike."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from contracts.frames import Answer
from contracts.served import OUTCOMES
from inference.domain.asked import Arrival
from inference.domain.fleet import Computed, Fleet, LoadedVersion, ServedModel
from inference.domain.open_inference import InferHead, format_infer, read_call
from inference.domain.pace import Paces
from inference.domain.raw_call import (
    Call,
    Refused,
    decoded,
    encoded,
    header_length,
    json_answer,
    model_path,
    not_served,
    spoken,
)
from inference.domain.raw_work import Waiting, Work
from inference.domain.served import RawServed
from inference.domain.tensors import TensorRefused
from kit.clock import Clock
from kit.logs import get_logger
from kit.tasks import TaskOwner

_log = get_logger(__name__)
_SHARE_OF_DEADLINE = 0.9
"""As of predictions: what is predicted to wait for longer is refused now."""


class Infer:
    """The verb: errors are ``{"error": text}``, success is exactly 200."""

    def __init__(
        self,
        *,
        fleet: Callable[[], Fleet],
        record: Callable[[RawServed], None],
        describe: Callable[[Call], Answer],
        paces: Paces,
        clock: Clock,
        tasks: TaskOwner,
        rows_in_flight_max: int,
    ) -> None:
        self._fleet = fleet
        self._record = record
        self._describe = describe
        self._paces = paces
        self._clock = clock
        self._tasks = tasks
        self._rows_max = rows_in_flight_max
        self._waiting = Waiting()
        self._computing_later = False

    def submit(self, arrivals: Sequence[Arrival]) -> None:
        """Answer INFER asks that came over frames, each for itself; runs share batches.

        What is computed in no time is computed on the event loop, a run a turn.
        """
        for arrival in arrivals:
            self._take(arrival)
        self._go_on()

    def _take(self, arrival: Arrival) -> None:
        ask = arrival.ask
        method, path, headers = spoken(ask.target, ask.headers)
        call = Call(method, path, headers, ask.body, ask.request_id, arrival.deadline_ns)
        try:
            named = _asked_for(call)
            if named is None:
                arrival.answer(self._describe(call))
                return
            work = self._read(call, *named)
        except Exception as failed:  # noqa: BLE001 - the edge that answers
            arrival.answer(_refusal(failed))
            return
        work.arrival = arrival
        if work.head.alone:
            self._tasks.start("infer", partial(self._answer_work, work))
        else:
            self._waiting.add(work)

    async def _answer_work(self, work: Work) -> None:
        try:
            work.answer(await self._compute(work))
        except Exception as failed:  # noqa: BLE001 - the edge that answers
            work.answer(_refusal(failed))

    def _go_on(self) -> None:
        if self._waiting and not self._computing_later:
            self._computing_later = True
            asyncio.get_running_loop().call_soon(self._compute_some)

    def _compute_some(self) -> None:
        self._computing_later = False
        taken, away = self._waiting.take()
        if away and taken:
            self._tasks.start("infer", partial(self._compute_away, taken))
        elif taken:
            self._compute_now(taken)
        self._go_on()

    def _compute_now(self, taken: Sequence[Work]) -> None:
        """One short run for all of these whose callers still wait."""
        loaded, began_ns = taken[0].loaded, self._clock.monotonic_ns()
        works = []
        for work in taken:
            if not work.wanted:
                self._release([work])
            elif work.call.deadline_ns <= began_ns:
                self._tasks.start("infer", partial(self._answer_work, work))
            else:
                works.append(work)
        if not works:
            return
        try:
            computed = loaded.engine.run_together(
                [work.inputs for work in works], [work.head.rows for work in works]
            )
            self._answer_all(works, computed, [began_ns - work.read_ns for work in works])
        except Exception as failed:  # noqa: BLE001 - the edge that answers
            self._fail(works, failed)
        finally:
            self._release(works)

    async def _compute_away(self, taken: Sequence[Work]) -> None:
        """One run in a thread."""
        loaded = taken[0].loaded
        try:
            works = [work for work in taken if work.wanted]
            if works:
                computed = await loaded.engine.compute_together(
                    [work.inputs for work in works],
                    [work.head.rows for work in works],
                    [work.call.deadline_ns for work in works],
                )
                self._answer_all(works, computed, [one.queue_ns for one in computed])
        except Exception as failed:  # noqa: BLE001 - the edge that answers
            self._fail(taken, failed)
        finally:
            self._release(taken)
            self._waiting.done(taken[0].kind)
            self._go_on()

    def _answer_all(
        self, works: Sequence[Work], computed: Sequence[Computed], waits_ns: Sequence[int]
    ) -> None:
        self._count(works, computed, waits_ns)
        for work, one in zip(works, computed, strict=True):
            work.answer(self._written(work, one))

    @staticmethod
    def _fail(works: Sequence[Work], failed: Exception) -> None:
        answer = _refusal(failed)
        for work in works:
            work.answer(answer)

    async def handle(self, call: Call) -> Answer:
        """Answer any call below ``/v2``."""
        try:
            named = _asked_for(call)
            if named is None:
                return self._describe(call)
            return await self._compute(self._read(call, *named))
        except Exception as failed:  # noqa: BLE001 - the edge that answers
            return _refusal(failed)

    def _read(self, call: Call, model: str, version: str | None) -> Work:
        """What the call asks for; a use of its version. Raises ``Refused``, ``TensorRefused``."""
        fleet, began_ns = self._fleet(), self._clock.monotonic_ns()
        loaded = fleet.named(model, version)
        if loaded is None and model in fleet.missing:
            raise Refused(503, f"model '{model[:100]}' is not loaded yet", elsewhere=True)
        if loaded is None:
            raise not_served(model, version)
        head, inputs = read_call(
            decoded(call), header_length(call), loaded.engine.inputs, loaded.heads
        )
        if version is None:
            loaded = _routed(fleet.models[model], head, call)
        read_ns = self._clock.monotonic_ns()
        self._admit(loaded.model, head.rows, call.deadline_ns - read_ns)
        loaded.tally.raw_parse_ns += read_ns - began_ns
        loaded.in_use += 1
        self._paces.accept(loaded.model, head.rows, read_ns)
        return Work(call, loaded, fleet.models.get(model), fleet.epoch, head, inputs, read_ns)

    def _admit(self, model: str, rows: int, left_ns: int) -> None:
        """Raise ``Refused`` for what cannot be answered in time; alone it is never late."""
        pending = self._paces.pending
        if not pending:
            return
        pace = self._paces.of(model)
        late = pace.pending > 0 and pace.late(rows, _SHARE_OF_DEADLINE * left_ns / 1e9)
        if late or pending + rows > self._rows_max:
            raise Refused(503, "the answer would come after the deadline", elsewhere=True)

    async def _compute(self, work: Work) -> Answer:
        """The answer, from a run that waits for its turn. Raises what says why there is none."""
        loaded, head = work.loaded, work.head
        try:
            deadlines_ns = np.full(head.rows, work.call.deadline_ns, np.int64)
            computed = await loaded.engine.compute(
                work.inputs, head.rows, deadlines_ns, alone=head.alone
            )
            self._count([work], [computed], [computed.queue_ns])
            return self._written(work, computed)
        finally:
            self._release([work])

    def _release(self, works: Sequence[Work]) -> None:
        """These wait no more."""
        loaded, rows = works[0].loaded, sum([work.head.rows for work in works])
        loaded.in_use -= len(works)
        self._paces.answer(loaded.model, rows, self._clock.monotonic_ns())

    def _written(self, work: Work, computed: Computed) -> Answer:
        began_ns = self._clock.monotonic_ns()
        loaded = work.loaded
        try:
            if np.count_nonzero(computed.outcome):
                raise _failure(OUTCOMES[int(computed.outcome.max())])
            labels = loaded.manifest.post_processing.labels
            body, json_bytes = format_infer(
                loaded.model, loaded.version, work.head, loaded.engine.outputs, computed.outputs,
                labels,
            )  # fmt: skip
            answer = encoded(work.call, body, json_bytes)
        except Exception as failed:  # noqa: BLE001 - the edge that answers
            return _refusal(failed)
        loaded.tally.raw_format_ns += self._clock.monotonic_ns() - began_ns
        return answer

    def _count(
        self, works: Sequence[Work], computed: Sequence[Computed], waits_ns: Sequence[int]
    ) -> None:
        """Count and record what one run said to these calls of one version."""
        first, loaded = works[0], works[0].loaded
        tally, compute_ns = loaded.tally, computed[0].compute_ns
        for one in computed:
            tally.outcomes(one.outcome)
            tally.request("invalid-input" if np.count_nonzero(one.outcome) else "ok")
        tally.batch_rows.observe(sum([len(one.outcome) for one in computed]))
        tally.stages["queue"].observe_all([wait_ns / 1e9 for wait_ns in waits_ns])
        tally.stages["compute"].observe(compute_ns / 1e9)
        tally.last_inference_us = self._clock.wall_us()
        served = RawServed(
            loaded=loaded,
            route=first.route,
            epoch=first.epoch,
            request_ids=b"".join([work.call.request_id for work in works]),
            units=tuple([work.unit for work in works]),
            now_us=self._clock.now_us(),
            work_us=compute_ns // 1000,
            computed=computed,
        )
        self._record(served)


def _refusal(failed: Exception) -> Answer:
    if isinstance(failed, Refused):
        error, elsewhere = {"error": failed.text}, failed.elsewhere
        return json_answer(failed.status, error, retryable=elsewhere, allowed=failed.allowed)
    if isinstance(failed, TensorRefused):
        return json_answer(400, {"error": str(failed)})
    _log.error("infer_failed", exc_info=failed)
    return json_answer(500, {"error": "the service failed"})


def _failure(outcome: str) -> Refused:
    if outcome == "deadline":
        return Refused(503, "the deadline passed before the model computed")
    return Refused(400, "the model cannot compute this input")


def _asked_for(call: Call) -> tuple[str, str | None] | None:
    """The model and the version that an ``infer`` call names; None for another call."""
    found = model_path(call.path)
    if found is None or found.verb != "infer":
        return None
    call.require("POST")
    return found.model, found.version


def _routed(model: ServedModel, head: InferHead, call: Call) -> LoadedVersion:
    """The version that answers: sticky by the unit the caller names, else by its request."""
    unit = head.unit or head.id or call.request_id.hex()
    return model.loaded[model.split.arm_of(unit)]
