"""Wiring: the only place where the feature store's parts are constructed and meet."""

import math
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from functools import partial

import pyarrow.compute as pc
from fastapi import APIRouter, FastAPI

from feature_store import metrics
from feature_store.adapters.engine_by_size import BySizeEngine
from feature_store.adapters.log_writer_parquet import LogWriter
from feature_store.adapters.memory_redis import RedisMemory
from feature_store.adapters.online_redis import RedisStore
from feature_store.adapters.quarantine_files import QuarantineFiles
from feature_store.adapters.served_redis import RedisServedLog
from feature_store.apply import apply_rows
from feature_store.materialize import Materializer
from feature_store.online import OnlineReader
from feature_store.push import Pusher
from feature_store.replay import Replayer
from feature_store.retrieve import Jobs
from feature_store.routes import consistency as consistency_routes
from feature_store.routes import definitions as definitions_routes
from feature_store.routes import historical as historical_routes
from feature_store.routes import knowledge as knowledge_routes
from feature_store.routes import online as online_routes
from feature_store.routes import push as push_routes
from feature_store.settings import FeatureStoreSettings
from feature_store.verify import Verifier
from kit.app import create_app
from kit.clock import Clock, clock_from
from kit.redis_pipeline import PipelinedRedis, RedisAway
from kit.tasks import TaskOwner, periodic
from shared_features import Catalogue, FeatureView, WindowView, load_catalogue

NEWEST_AMONG = 50_000
"""Rows at the log's end among which a start looks for each source's newest."""
WEIGH_EVERY_S = 5.0
"""Half of Prometheus' interval: what it is told is no older."""


class Parts:
    """The parts of one process, put together. Opens the log (and takes its lock); no more I/O."""

    def __init__(self, settings: FeatureStoreSettings, clock: Clock) -> None:
        self.settings = settings
        self.clock = clock
        self.catalogue = load_catalogue(settings.feature_modules)
        self.log = LogWriter(settings.directory / "log", sync=settings.log_sync)
        self.disk = ThreadPoolExecutor(1, "feature-log")
        self.retrieving = ThreadPoolExecutor(1, "historical")
        self.engine = BySizeEngine(settings.duckdb_from_bytes)
        self.quarantine = QuarantineFiles(settings.directory / "quarantine")
        self.jobs = Jobs(settings.directory / "jobs", self.retrieving, settings.jobs_kept_max)
        newest_us = _newest_us(self.catalogue, self.log)
        self.pusher = Pusher(self.catalogue, self.log, self.quarantine, clock, self.disk, newest_us)
        self._connect()
        self._measure()

    def _connect(self) -> None:
        """What talks to Redis: readers, writers and the replay do not wait for each other."""
        settings, catalogue, log, clock = self.settings, self.catalogue, self.log.reader, self.clock
        slow_ms, namespace = settings.write_timeout_ms, settings.namespace
        self.readers = PipelinedRedis(settings.redis_url, timeout_ms=settings.read_timeout_ms)
        self.writers = PipelinedRedis(settings.redis_url, timeout_ms=slow_ms)
        self.replayed = PipelinedRedis(settings.redis_url, timeout_ms=slow_ms)
        store = RedisStore(self.writers, namespace)
        self.reader = OnlineReader(self.readers, namespace)
        self.plans = online_routes.Plans(catalogue, self.reader)
        self.materializer = Materializer(catalogue, log, store, apply_rows, clock, namespace)
        self.verifier = Verifier(catalogue, log, store, self.reader, self.engine, clock, namespace)
        served = RedisServedLog(self.replayed, settings.served_streams, namespace)
        self.replayer = Replayer(catalogue, log, served, clock)
        self.memory = RedisMemory(self.replayed)

    def _measure(self) -> None:
        metrics.BUSINESS_TIME.set_function(lambda: self.clock.now_us() / 1e6)
        metrics.LOG_SEQ.set_function(lambda: self.log.last_seq)
        metrics.APPLIED_SEQ.set_function(self.materializer.applied_seq)
        for unknown in (metrics.STORE_USED, metrics.STORE_LIMIT):
            unknown.set(math.nan)  # until the store has said: a zero would look like growth
        metrics.LOG_LOST.set_function(lambda: self.materializer.log_lost)
        metrics.ONLINE_CONNECTED.set_function(lambda: self.readers.connected)
        for view in self.catalogue.views:
            metrics.begin_parity(view)
        for source, seconds in _lives_s(self.catalogue).items():
            metrics.LIVES_S.labels(source).set(seconds)

    async def _weigh(self) -> None:
        """How full the store is; while it is away, what it said last stands."""
        with suppress(RedisAway):
            memory = await self.memory.look()
            metrics.STORE_USED.set(memory.used_bytes)
            metrics.STORE_LIMIT.set(memory.limit_bytes)

    def redefine(self, dry_run: bool) -> dict[str, list[str]]:
        """Read the definitions anew and, unless it is a dry run, adopt them; what differs."""
        found = load_catalogue(self.settings.feature_modules, again=True)
        difference = self.catalogue.difference(found)
        if not dry_run:
            self.catalogue.adopt(found)
            self.plans.forget()
            self.materializer.adopt()
        return difference

    @asynccontextmanager
    async def life(self, _app: FastAPI) -> AsyncIterator[None]:
        """Connect, run what runs for ever, and close."""
        connections = (self.readers, self.writers, self.replayed)
        for one in connections:
            await one.start()
        await self._weigh()
        every_s, replay_every_s = self.settings.verify_every_s, self.settings.replay_every_s
        try:
            async with TaskOwner() as tasks:
                tasks.start("materialize", self.materializer.run, restart=True)
                tasks.start("verify", partial(self.verifier.run, every_s), restart=True)
                tasks.start("replay", partial(self.replayer.run, replay_every_s), restart=True)
                tasks.start("weigh", periodic(self._weigh, WEIGH_EVERY_S), restart=True)
                yield
        finally:
            for one in connections:
                await one.stop()
            self.disk.shutdown()
            self.retrieving.shutdown(wait=False, cancel_futures=True)
            self.log.close()

    def ready(self) -> list[str]:
        """What is missing before questions can be answered."""
        missing = [] if self.readers.connected else ["the online store is away"]
        if not self.materializer.caught_up_once:
            missing.append(self._why_not_filled())
        return missing

    def _why_not_filled(self) -> str:
        if self.materializer.log_lost:
            return "the feature log: it was opened empty"
        if self.materializer.full:
            return "the online store has no memory left"
        return "the online store is being filled from the log"

    def routers(self) -> list[APIRouter]:
        """Everything that is answered over HTTP."""
        settings, log = self.settings, self.log.reader
        return [
            online_routes.router(self.plans, self.reader, self.clock),
            push_routes.router(
                self.pusher,
                self.materializer.wait_applied,
                self.materializer.poke,
                lambda: self.materializer.log_lost,
                arrow_bytes_max=settings.arrow_bytes_max,
                rows_max=settings.rows_per_push_max,
                applied_wait_s=settings.applied_wait_s,
            ),
            historical_routes.router(
                self.catalogue,
                log,
                self.engine,
                self.jobs,
                rows_max=settings.job_rows_max,
                arrow_bytes_max=settings.arrow_bytes_max,
            ),
            definitions_routes.router(self.catalogue, self.redefine),
            consistency_routes.router(self.catalogue, self.verifier, self.replayer),
            knowledge_routes.router(
                self.catalogue,
                log,
                self.engine,
                self.quarantine,
                self.materializer.applied_by_view,
                self.pusher.newest_us,
                self.clock,
                self.materializer.start_over,
            ),
        ]


def build(settings: FeatureStoreSettings, clock: Clock | None = None) -> FastAPI:
    """The feature store's application. Opens its log (and takes its lock); connects to nothing."""
    parts = Parts(settings, clock or clock_from(settings.clock_file))
    return create_app(
        "feature_store",
        "What do we know about this entity, as of when, how fresh?",
        settings,
        routers=parts.routers(),
        lifespan=parts.life,
        ready=parts.ready,
    )


def _newest_us(catalogue: Catalogue, log: LogWriter) -> dict[str, int]:
    newest: dict[str, int] = {}
    for name, source in catalogue.sources.items():
        after = log.last_seq - NEWEST_AMONG
        rows = log.reader.read_columns(source, ["__event_us", "__seq"], max(0, after))
        if len(rows):
            newest[name] = pc.max(rows["__event_us"]).as_py()
    return newest


def _lives_s(catalogue: Catalogue) -> dict[str, float]:
    """By source: the shortest time after which one of its views has nothing left to say."""
    lives: dict[str, float] = {}
    for view in catalogue.views.values():
        limit = None  # a calendar window begins anew by itself
        if isinstance(view, FeatureView):
            limit = view.max_age
        elif isinstance(view, WindowView):
            limit = view.window
        if limit is not None:
            seconds = limit.total_seconds()
            lives[view.source.name] = min(seconds, lives.get(view.source.name, seconds))
    return lives
