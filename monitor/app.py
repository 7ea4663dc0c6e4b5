"""Wiring: the only place that constructs things. Constructing does no I/O; the lifespan does."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from typing import TypeVar

import httpx
from fastapi import FastAPI

from kit.app import create_app
from kit.clock import Clock, clock_from
from kit.http import internal_client, outside_client
from kit.logs import get_logger
from kit.redis import connect
from kit.tasks import TaskOwner, periodic
from monitor import metrics
from monitor.adapters.baselines_registry import RegistryBaselines
from monitor.adapters.database_sqlite import Database, Lease
from monitor.adapters.history_sqlite import SqliteHistory
from monitor.adapters.labels_sqlite import SqliteLabels
from monitor.adapters.ledger_sqlite import SqliteLedger
from monitor.adapters.parts_parquet import ParquetParts
from monitor.adapters.rollouts_sqlite import SqliteRollouts
from monitor.adapters.sink_log import LogSink
from monitor.adapters.sinks_http import AlertmanagerSink, SlackSink, WebhookSink
from monitor.adapters.store_sqlite import SqliteStore
from monitor.adapters.stream_redis import RedisStream
from monitor.adapters.verdicts_sqlite import SqliteVerdicts
from monitor.alert import TellPeople
from monitor.domain.floors import read_floors
from monitor.domain.season import read_days
from monitor.join_labels import JoinLabels
from monitor.judge import Judge
from monitor.observe import Observe
from monitor.ports import Sink
from monitor.report import Report
from monitor.routes import (
    alert_routes,
    evidence_routes,
    judge_routes,
    label_routes,
    report_routes,
    run_routes,
)
from monitor.schedule import Schedule
from monitor.settings import MonitorSettings
from monitor.tend import Tend
from monitor.weigh import Weigh

_log = get_logger(__name__)
T = TypeVar("T")
LEASE_TRY_S = 1.0
TEND_EVERY_S = 60.0
RESTATE_EVERY_S = 60.0


class Thread:
    """One thread that owns blocking work; port ``Offload``."""

    def __init__(self, name: str) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix=name)

    def __call__(self, work: Callable[[], T], /) -> Awaitable[T]:
        return asyncio.get_running_loop().run_in_executor(self._executor, work)

    def stop(self) -> None:
        """Wait for what runs."""
        self._executor.shutdown(wait=True)


class Monitor:
    """The parts of one process, put together."""

    def __init__(self, settings: MonitorSettings, registry: httpx.AsyncClient) -> None:
        self.settings = settings
        self.registry = registry
        self.clock: Clock = clock_from(settings.clock_file)
        self.runs = TaskOwner()
        self.write, self.ask = Thread("monitor-write"), Thread("monitor-ask")
        self._open_stores()
        self._build_intake()
        self._build_judge()

    def _open_stores(self) -> None:
        settings, match_us = self.settings, self.settings.label_match_ms * 1000
        self.database = Database(settings.folder / "monitor.sqlite")
        self.lease = Lease(settings.folder / "lease")
        self.parts = ParquetParts(settings.folder / "events")
        self.baselines = RegistryBaselines(
            self.registry,
            settings.folder / "baselines",
            self.clock,
            settings.segment_columns,
            settings.segments_per_column_max,
        )
        self.ledger = SqliteLedger(self.database, match_us)
        self.labels = SqliteLabels(self.database, match_us, settings.pending_labels_max)
        self.history = SqliteHistory(self.database)
        self.verdicts = SqliteVerdicts(self.database)

    def _build_intake(self) -> None:
        settings = self.settings
        self.redis = connect(
            settings.redis_url, purpose="served-log", timeout_ms=settings.redis_timeout_ms
        )
        self.stream = RedisStream(
            self.redis,
            settings.streams,
            settings.consumer,
            self.clock,
            entries_max=settings.read_entries_max,
            block_ms=settings.read_block_ms,
            idle_claim_s=settings.idle_claim_s,
            fill_bytes=settings.read_fill_bytes,
        )
        self.observe = Observe(
            self.stream,
            self.ledger,
            self.parts,
            self.baselines,
            self.write,
            self.clock,
            future_tolerance_us=int(settings.future_tolerance_s * 1e6),
            deliveries_max=settings.deliveries_max,
        )
        self.join_labels = JoinLabels(self.labels, self.baselines, self.write, self.clock)
        rollouts = SqliteRollouts(self.database, int(settings.attribution_h * 3_600_000_000))
        self.weigh = Weigh(rollouts, self.stream, self.ask, self.clock)
        self.tend = Tend(
            SqliteStore(self.database), self.parts, self.write, self.clock,
            keep_us=settings.predictions_days * 86_400_000_000,
        )  # fmt: skip

    def _build_judge(self) -> None:
        settings = self.settings
        self.judge = Judge(
            self.history,
            self.parts,
            self.verdicts,
            self.baselines,
            self.ask,
            self.clock,
            rows_min=settings.rows_min,
            label_due_us=int(settings.label_due_h * 3_600_000_000),
            completeness_min=settings.completeness_min,
            floors=read_floors(settings.quality_floors),
            known_days=read_days(settings.known_days),
        )
        self.outside = outside_client(5.0)
        self.alertmanager = (
            AlertmanagerSink(self.outside, settings.alertmanager_url, self.clock)
            if settings.alertmanager_url
            else None
        )
        self.alert = TellPeople(
            self.verdicts, self._sinks(), self.write, self.clock, settings.tickets_per_day
        )
        self.schedule = Schedule(
            self.history,
            self.verdicts,
            self.stream,
            self.judge.examine,
            self.alert.take,
            lambda: self.observe.read_until_us,
            self.ask,
            self.write,
            self.clock,
            int(settings.settle_s * 1e6),
        )
        self.report = Report(self.history, self.verdicts, self.baselines, self.ask, self.clock)

    def _sinks(self) -> list[Sink]:
        settings, client = self.settings, self.outside
        sinks: list[Sink] = [LogSink()]
        secret = settings.webhook_secret.get_secret_value()
        if settings.webhook_url:
            sinks.append(WebhookSink(client, settings.webhook_url, secret, self.clock))
        if settings.slack_url:
            sinks.append(SlackSink(client, settings.slack_url))
        if self.alertmanager is not None:
            sinks.append(self.alertmanager)
        return sinks

    async def lead(self) -> None:
        """Wait for the lease, then read the log and run the jobs; a second process stands by."""
        while not self.lease.take():
            await self.clock.sleep_s(LEASE_TRY_S)
        metrics.LEADER.set(1)
        known = await self.write(self.ledger.part_names)
        swept = await self.write(lambda: self.parts.sweep(known))
        if swept:
            _log.info("unfinished_parts_swept", parts=len(swept))
        async with TaskOwner() as tasks:
            tasks.start("recount", periodic(self.observe.recount, 2.0), restart=True)
            tasks.start("jobs", periodic(self._tick, self.settings.tick_s), restart=True)
            tasks.start("tend", periodic(self.tend.run, TEND_EVERY_S), restart=True)
            tasks.start("minute", periodic(self.schedule.minute, 60.0), restart=True)
            tasks.start("deliver", periodic(self.alert.deliver, 1.0), restart=True)
            if self.alertmanager is not None:
                restate = partial(self.alert.restate, self.alertmanager)
                tasks.start("restate", periodic(restate, RESTATE_EVERY_S), restart=True)
            tasks.start("trim", periodic(self._trim, self.settings.trim_every_s), restart=True)
            await self.observe.run()

    async def _tick(self) -> None:
        while await self.schedule.tick():
            pass

    async def _trim(self) -> None:
        metrics.TRIMMED.inc(await self.stream.trim())
        entries, lag_s = await self.stream.backlog()
        metrics.BACKLOG.set(entries)
        metrics.LAG_S.set(lag_s)
        metrics.GAPS_OPEN.set(await self.write(self.ledger.missing))
        metrics.LABELS_WAITING.set(await self.write(self.labels.waiting))

    @asynccontextmanager
    async def life(self, _: FastAPI) -> AsyncIterator[None]:
        """From the opened database to the closed one."""
        await self.write(self.database.open)
        await self.write(self.baselines.load)
        try:
            async with TaskOwner() as tasks:
                tasks.start("lead", self.lead, restart=True)
                yield
        finally:
            await self.runs.stop()
            self.write.stop()
            self.ask.stop()
            self.database.close()
            self.lease.drop()
            await self.outside.aclose()
            await self.registry.aclose()
            await self.redis.aclose()


def application(monitor: Monitor) -> FastAPI:
    """The HTTP application over a monitor."""
    return create_app(
        "monitor",
        "What happened, and is it still right?",
        monitor.settings,
        routers=(
            label_routes(monitor.join_labels),
            judge_routes(monitor.judge, monitor.clock),
            evidence_routes(monitor.weigh),
            alert_routes(monitor.alert),
            report_routes(monitor.report, monitor.baselines),
            run_routes(
                monitor.schedule, monitor.verdicts, monitor.ask, monitor.runs, monitor.clock
            ),
        ),
        lifespan=monitor.life,
        ready=list,
    )


def build(settings: MonitorSettings) -> FastAPI:
    """The application as ``__main__`` runs it."""
    token = settings.service_token.get_secret_value()
    registry = internal_client(settings.registry_url, token, settings.baseline_timeout_s)
    return application(Monitor(settings, registry))
