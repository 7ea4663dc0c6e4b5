"""Runs the jobs by business time: every window that has ended is judged once, in order.

After a stop, or when a simulated clock races, missed windows are caught up. A window and all
that follows from it (run, memory, alerts, messages) are one transaction: a kill repeats it.
"""

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import uuid4

from contracts.problems import ProblemCode
from kit.clock import Clock
from kit.logs import get_logger
from kit.problems import Problem
from monitor import metrics
from monitor.domain.alerts import Sighting
from monitor.domain.rows import DAY_US
from monitor.domain.sightings import pipeline
from monitor.domain.tickets import Track
from monitor.domain.when import Job, Window, ended
from monitor.ports import EventStream, History, Offload, Run, StreamAway, Verdicts

_log = get_logger(__name__)

HOUR_RUNS_KEPT_US = 14 * DAY_US
WINDOWS_AT_A_TIME = 50
LOSS_IS_NEWS_MIN = 6 * 60
"""So long the loss of records fires: what is lost never comes, and an alert has to end."""
JOBS: tuple[Job, ...] = ("hour", "day", "week")


class Found(Protocol):
    """What an examination brings."""

    @property
    def result(self) -> dict[str, Any]: ...

    @property
    def sightings(self) -> list[Sighting]: ...

    @property
    def tracks(self) -> dict[tuple[str, str], Track]: ...


Examine = Callable[[Job, str, Window], Awaitable[Found]]
Take = Callable[[Sequence[Sighting], int], None]


@dataclass(frozen=True, slots=True)
class _Due:
    window: Window
    job: Job
    model: str

    @property
    def order(self) -> tuple[int, int, str]:
        return self.window.until_hour, JOBS.index(self.job), self.model


class Schedule:
    """One tick looks for windows that have ended; ``read_until_us`` says how far the log was read
    (wall time), so that a window is judged when what belongs to it has been counted."""

    def __init__(
        self,
        history: History,
        verdicts: Verdicts,
        stream: EventStream,
        examine: Examine,
        take: Take,
        read_until_us: Callable[[], int],
        ask: Offload,
        write: Offload,
        clock: Clock,
        settle_us: int,
    ) -> None:
        self._history = history
        self._verdicts = verdicts
        self._stream = stream
        self._examine = examine
        self._take = take
        self._read_until_us = read_until_us
        self._ask = ask
        self._write = write
        self._clock = clock
        self._settle_us = settle_us
        self._ripe: list[tuple[int, int]] = []
        self._missing_lately: deque[int] = deque(maxlen=LOSS_IS_NEWS_MIN)

    async def tick(self) -> int:
        """Judge what is due; the number of windows."""
        business_us = self._ripe_business_us()
        due = await self._write(lambda: self._due(business_us))
        metrics.JOBS_BEHIND.set(len(due))
        for one in due[:WINDOWS_AT_A_TIME]:
            await self._run(one.job, one.model, one.window, uuid4().hex)
        return min(len(due), WINDOWS_AT_A_TIME)

    def _ripe_business_us(self) -> int:
        """The latest business time whose rows have had ``settle_us`` of real time to be read."""
        self._ripe.append((self._clock.wall_us(), self._clock.now_us()))
        read_until_us = self._read_until_us() - self._settle_us
        ripe = [at for at in self._ripe if at[0] <= read_until_us]
        self._ripe = self._ripe[max(len(ripe) - 1, 0) :][-10_000:]
        return ripe[-1][1] if ripe else 0

    def _due(self, business_us: int) -> list[_Due]:
        due: list[_Due] = []
        for model in self._history.models():
            first = self._history.first_hour(model)
            if first is None:
                continue
            for job in JOBS:
                done = self._verdicts.done(job, model)
                due += [_Due(window, job, model) for window in ended(job, done, first, business_us)]
        return sorted(due, key=lambda one: one.order)

    async def _run(self, job: Job, model: str, window: Window, run_id: str) -> Run:
        began_ns, started_us = self._clock.monotonic_ns(), self._clock.wall_us()
        try:
            found = await self._examine(job, model, window)
        except Exception:
            metrics.JOB_FAILURES.labels(job).inc()
            raise
        run = Run(
            run_id, job, model, window.from_us, window.until_us, started_us,
            self._clock.wall_us(), "done", 1.0, found.result,
        )  # fmt: skip
        await self._write(lambda: self._keep(run, found))
        metrics.JOB_S.labels(job).observe((self._clock.monotonic_ns() - began_ns) / 1e9)
        metrics.JOB_LAST_SUCCESS.labels(job).set(self._clock.wall_us() / 1e6)
        if job == "day":
            _export(model, found.result)
        return run

    def _keep(self, run: Run, found: Found) -> None:
        with self._verdicts.transaction():
            self._verdicts.put_run(run)
            if run.job == "on_demand":
                return
            self._verdicts.put_done(run.job, run.model, run.until_us)
            self._verdicts.put_tracks(run.model, found.tracks)
            self._take(found.sightings, run.until_us)
            if run.job == "day":
                self._verdicts.prune_runs("hour", run.until_us - HOUR_RUNS_KEPT_US)

    async def minute(self) -> None:
        """The pipeline itself: lag and lost records; in real time, for the present only."""
        try:
            _, lag_s = await self._stream.backlog()
        except StreamAway:
            lag_s = (self._clock.wall_us() - self._read_until_us()) / 1e6
        missing = await self._write(self._missing)
        self._missing_lately.append(missing)
        new = missing - min(self._missing_lately)
        now_us = self._clock.now_us()
        await self._write(lambda: self._keep_minute(pipeline(lag_s, missing, new, now_us), now_us))
        metrics.JOB_LAST_SUCCESS.labels("minute").set(self._clock.wall_us() / 1e6)

    def _missing(self) -> int:
        return self._verdicts.missing()

    def _keep_minute(self, sightings: Sequence[Sighting], now_us: int) -> None:
        with self._verdicts.transaction():
            self._take(sightings, now_us)

    async def on_demand(self, model: str, window: Window) -> Run:
        """Begin a run of any window; ``finish`` does it. Raises not-found for an unknown model."""
        models = await self._ask(self._history.models)
        if model not in models:
            raise Problem(ProblemCode.NOT_FOUND, "Nothing of this model has been served.")
        run = Run(
            uuid4().hex, "on_demand", model, window.from_us, window.until_us,
            self._clock.wall_us(), None, "running", 0.0, {},
        )  # fmt: skip
        await self._write(lambda: self._put(run))
        return run

    async def finish(self, run: Run) -> None:
        """Do an on-demand run; a failure is kept with it."""
        window = Window(run.from_us // 3_600_000_000, run.until_us // 3_600_000_000)
        try:
            await self._run("on_demand", run.model, window, run.id)
        except Exception as error:
            failed = Run(
                run.id, run.job, run.model, run.from_us, run.until_us, run.started_us,
                self._clock.wall_us(), "failed", 1.0, {"error": type(error).__name__},
            )  # fmt: skip
            await self._write(lambda: self._put(failed))
            raise

    def _put(self, run: Run) -> None:
        with self._verdicts.transaction():
            self._verdicts.put_run(run)


def _export(model: str, result: dict[str, Any]) -> None:
    """The night's numbers, and no earlier ones: a version that did not serve has none to be told,
    or its labels would be overdue for ever."""
    for gauge in (
        metrics.FEATURE_D, metrics.FEATURE_P, metrics.FEATURE_MEAN_SIGMA, metrics.QUALITY,
        metrics.LABELS_OVERDUE,
    ):  # fmt: skip
        gauge.remove_by_labels({"model": model})
    for version, found in result["versions"].items():
        for column, drift in found.get("columns", {}).items():
            if drift["state"] == "OK":
                metrics.FEATURE_D.labels(model, version, column).set(drift["distance"])
                metrics.FEATURE_P.labels(model, version, column).set(drift["p"])
                if drift["mean_shift"] is not None:
                    shift = metrics.FEATURE_MEAN_SIGMA.labels(model, version, column)
                    shift.set(drift["mean_shift"])
        quality = found.get("quality", {})
        for name in ("accuracy", "log_loss", "brier", "auc", "mae", "rmse", "n"):
            if quality.get(name) is not None:
                metrics.QUALITY.labels(model, version, name).set(quality[name])
        # Where nobody sends labels, none is overdue.
        fed = found.get("rolling_week", {}).get("n", 0) > 0
        if fed and quality.get("completeness_due") is not None:
            overdue = 1 - quality["completeness_due"]
            metrics.LABELS_OVERDUE.labels(model, version).set(overdue)
