"""Lanes: where the rows of one model version wait, and how they become batches."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from contracts.served import OUTCOMES
from inference.adapters.session_onnxruntime import (
    OnnxSession,
    by_row,
    run_alone,
    run_in_pieces,
    run_rows,
)
from inference.adapters.slots import Slots
from inference.domain.costs import RunCosts
from inference.domain.fleet import Computed, Tensor, TensorSpec
from kit.clock import Clock

Run = Callable[[OnnxSession, dict[str, Tensor], int], tuple[list[Tensor], npt.NDArray[np.uint8]]]
_DEADLINE = OUTCOMES.index("deadline")


@dataclass(slots=True)
class _Job:
    """Rows that wait for a run together."""

    feeds: dict[str, Tensor]
    rows: int
    deadlines_ns: npt.NDArray[np.int64] | None
    future: "asyncio.Future[Computed]"
    shape: tuple[Any, ...]
    """Jobs of equal shape may share a run; empty for one that runs alone."""
    queued_ns: int
    alive: npt.NDArray[np.bool_] | None = field(default=None)


class OnnxEngine:
    """The lane of one model version. Batches are formed when a slot is free, never before."""

    def __init__(
        self,
        session: OnnxSession,
        *,
        clock: Clock,
        slots: Slots,
        executor: Executor,
        rows_max: int,
        inline_us_max: int,
        weight: float = 1.0,
    ) -> None:
        self._session: OnnxSession | None = session
        self.inputs = session.inputs
        self.outputs = session.outputs
        self.fallback = session.fallback
        self.weight = weight
        self.served_s = 0.0
        self.costs = RunCosts()
        """Wall time of runs, as predicted waits need it."""
        self._own_costs = RunCosts()
        """CPU time of the running thread: what a run would keep the event loop from, without what
        other processes of a busy machine add to it."""
        self._batchable = session.batchable
        self._clock = clock
        self._slots = slots
        self._executor = executor
        self._rows_max = rows_max
        self._inline_s_max = inline_us_max / 1e6
        self._queue: deque[_Job] = deque()

    def run_s(self, rows: int) -> float:
        """Predicted seconds of a run of that many rows."""
        return self.costs.seconds(rows)

    @property
    def batchable(self) -> bool:
        """Whether calls may share a run, as far as is known by now."""
        return self._batchable

    @property
    def runs_at_once(self) -> int:
        """How many runs threads may do at a time, of all versions together."""
        return self._slots.count

    @property
    def waiting(self) -> bool:
        """Whether rows wait for a slot."""
        return bool(self._queue)

    async def compute(
        self,
        feeds: dict[str, Tensor],
        rows: int,
        deadlines_ns: npt.NDArray[np.int64] | None,
        *,
        alone: bool = False,
    ) -> Computed:
        """Run the model on these rows, together with whatever else waits for it.

        A short run is done at once on the event loop; others wait for a slot and run in a thread.
        """
        alone = alone or not self._batchable
        if (
            not alone
            and self._short(rows)
            and (deadlines_ns is None or (deadlines_ns > self._clock.monotonic_ns()).all())
        ):
            return self._run_here(feeds, rows)
        future: asyncio.Future[Computed] = asyncio.get_running_loop().create_future()
        shape = () if alone else _shape_of(feeds)
        queued_ns = self._clock.monotonic_ns()
        self._queue.append(_Job(feeds, rows, deadlines_ns, future, shape, queued_ns))
        self._slots.offer(self)
        return await future

    def _short(self, rows: int) -> bool:
        """Whether a run of that many rows may be done on the event loop, now."""
        return (
            not self._queue
            and self._batchable
            and rows <= self._rows_max
            and self._own_costs.seconds(rows) <= self._inline_s_max
        )

    def quick(self, rows: int) -> int:
        """How many requests of that many rows may be run on the event loop together, now.

        By what so many rows took before, or by what one of the requests takes: together they take
        less, and what a long run took in a bad moment would never be found out to be wrong.
        """
        if not self._short(rows):
            return 0
        found = 1
        while self._short(found * 2 * rows):
            found *= 2
        singly = self._inline_s_max / max(self._own_costs.seconds(rows), 1e-9)
        return int(max(found, min(singly, self._rows_max // rows)))

    def run_together(
        self, feeds: Sequence[dict[str, Tensor]], rows: Sequence[int]
    ) -> list[Computed]:
        """Run the feeds of some requests at once, now, on the event loop; ask ``quick`` before.

        They are of one shape but for their rows.
        """
        if len(feeds) == 1:
            return [self._run_here(feeds[0], rows[0])]
        joined = {name: np.concatenate([one[name] for one in feeds]) for name in feeds[0]}
        whole = self._run_here(joined, sum(rows))
        if not by_row(whole.outputs, sum(rows)):
            self._batchable = False  # found out too late for these: each again, alone
            return list(map(self._run_here, feeds, rows))
        found, start = [], 0
        for count in rows:
            mine = slice(start, start + count)
            outputs = tuple([output[mine] for output in whole.outputs])
            found.append(Computed(outputs, whole.outcome[mine], 0, whole.compute_ns))
            start += count
        return found

    async def compute_together(
        self, feeds: Sequence[dict[str, Tensor]], rows: Sequence[int], deadlines_ns: Sequence[int]
    ) -> list[Computed]:
        """Like ``compute`` for some requests that come together, with a deadline each."""
        loop, queued_ns = asyncio.get_running_loop(), self._clock.monotonic_ns()
        shape = _shape_of(feeds[0]) if self._batchable else ()
        jobs = [
            _Job(
                one, count, np.full(count, due_ns, np.int64), loop.create_future(), shape, queued_ns
            )
            for one, count, due_ns in zip(feeds, rows, deadlines_ns, strict=True)
        ]
        self._queue.extend(jobs)
        self._slots.offer(self)
        return await asyncio.gather(*[job.future for job in jobs])

    def warm(self, feeds: dict[str, Tensor]) -> tuple[list[Tensor], npt.NDArray[np.uint8]]:
        """Run at once and learn what it costs; blocking, before the version serves."""
        outputs, outcome, _ = self._timed(run_rows, feeds, len(next(iter(feeds.values()))))
        return outputs, outcome

    def keep_apart(self) -> None:
        """From now on every call is a run of its own: its rows are answered with each other."""
        self._batchable = False

    def close(self) -> None:
        """Free the model; nothing computes any more."""
        self._session = None

    def _run_here(self, feeds: dict[str, Tensor], rows: int) -> Computed:
        outputs, outcome, took_ns = self._timed(run_rows, feeds, rows)
        return Computed(tuple(outputs), outcome, 0, took_ns)

    def _timed(
        self, run: Run, feeds: dict[str, Tensor], rows: int
    ) -> tuple[list[Tensor], npt.NDArray[np.uint8], int]:
        """Run in this thread; the outputs, the outcome and the nanoseconds it took."""
        began_ns, own_ns = self._clock.monotonic_ns(), time.thread_time_ns()
        outputs, outcome = run(self._open(), feeds, rows)
        took_ns = self._clock.monotonic_ns() - began_ns
        self.costs.learn(rows, took_ns / 1e9)
        self._own_costs.learn(rows, (time.thread_time_ns() - own_ns) / 1e9)
        return outputs, outcome, took_ns

    def _open(self) -> OnnxSession:
        assert self._session is not None, "a closed version was asked to compute"
        return self._session

    async def run_next(self) -> float:
        """Form one batch from the queue and run it in a thread; seconds it took. For ``Slots``."""
        jobs = self._form()
        if not jobs:
            return 0.0
        began_ns = self._clock.monotonic_ns()
        loop = asyncio.get_running_loop()
        feeds = jobs[0].feeds
        if len(jobs) > 1:
            feeds = {name: np.concatenate([job.feeds[name] for job in jobs]) for name in feeds}
        rows = sum(job.rows for job in jobs)
        run: Run = partial(run_in_pieces, rows_max=self._rows_max) if jobs[0].shape else run_alone
        try:
            outputs, outcome, took_ns = await loop.run_in_executor(
                self._executor, self._timed, run, feeds, rows
            )
            if len(jobs) > 1 and not by_row(outputs, rows):
                self._batchable = False  # found out too late for these: each again, alone
                self._queue.extendleft(reversed([replace(job, shape=()) for job in jobs]))
            else:
                self._hand_out(jobs, outputs, outcome, began_ns, took_ns)
        except Exception as failed:
            for job in jobs:
                if not job.future.done():
                    job.future.set_exception(failed)
            raise
        return took_ns / 1e9

    def _form(self) -> list[_Job]:
        """The oldest jobs that fit one batch; what nobody waits for any more is left out."""
        jobs: list[_Job] = []
        rows = 0
        now_ns = self._clock.monotonic_ns()
        while self._queue:
            job = self._queue[0]
            if jobs and (
                not job.shape or job.shape != jobs[0].shape or rows + job.rows > self._rows_max
            ):
                break
            self._queue.popleft()
            if job.future.cancelled():
                continue
            if not _drop_late(job, now_ns):
                _answer_late(job, self.outputs, now_ns)
                continue
            jobs.append(job)
            rows += job.rows
        return jobs

    @staticmethod
    def _hand_out(
        jobs: list[_Job],
        outputs: list[Tensor],
        outcome: npt.NDArray[np.uint8],
        began_ns: int,
        took_ns: int,
    ) -> None:
        start = 0
        for job in jobs:
            end = start + job.rows
            mine = outputs if len(jobs) == 1 else [output[start:end] for output in outputs]
            verdict = outcome[start:end]
            if job.alive is not None:
                mine, verdict = _spread(mine, verdict, job.alive)
            if not job.future.done():
                queue_ns = began_ns - job.queued_ns
                job.future.set_result(Computed(tuple(mine), verdict, queue_ns, took_ns))
            start = end


def _shape_of(feeds: dict[str, Tensor]) -> tuple[Any, ...]:
    return tuple((name, value.dtype, value.shape[1:]) for name, value in feeds.items())


def _drop_late(job: _Job, now_ns: int) -> bool:
    """Keep only the rows whose deadline is ahead; False when there is none."""
    if job.deadlines_ns is None or (job.deadlines_ns > now_ns).all():
        return True
    alive = job.deadlines_ns > now_ns
    if not alive.any():
        return False
    # It may be here again, without the rows that were late before.
    kept = alive if job.alive is None else alive[job.alive]
    job.alive = alive
    job.feeds = {name: value[kept] for name, value in job.feeds.items()}
    job.rows = int(alive.sum())
    return True


def _answer_late(job: _Job, specs: Sequence[TensorSpec], now_ns: int) -> None:
    rows = job.rows if job.alive is None else len(job.alive)
    shapes = [(rows, *(max(size, 1) for size in spec.shape[1:])) for spec in specs]
    zeros = tuple(np.zeros(shape, np.float32) for shape in shapes)
    outcome = np.full(rows, _DEADLINE, np.uint8)
    job.future.set_result(Computed(zeros, outcome, now_ns - job.queued_ns, 0))


def _spread(
    outputs: Sequence[Tensor], outcome: npt.NDArray[np.uint8], alive: npt.NDArray[np.bool_]
) -> tuple[list[Tensor], npt.NDArray[np.uint8]]:
    """Put the computed rows back in their places; the dropped ones are zeros and ``deadline``."""
    whole = []
    for output in outputs:
        spread = np.zeros((len(alive), *output.shape[1:]), output.dtype)
        spread[alive] = output
        whole.append(spread)
    verdict = np.full(len(alive), _DEADLINE, np.uint8)
    verdict[alive] = outcome
    return whole, verdict
