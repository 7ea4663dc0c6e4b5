"""Wiring: the only place where the feature store's parts are constructed and meet."""

from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial

import pyarrow.compute as pc
from fastapi import FastAPI

from feature_store import metrics
from feature_store.adapters.engine_by_size import BySizeEngine
from feature_store.adapters.log_parquet import LogWriter
from feature_store.adapters.online_redis import RedisStore
from feature_store.adapters.quarantine_files import QuarantineFiles
from feature_store.apply import apply_rows
from feature_store.materialize import Materializer
from feature_store.online import OnlineReader
from feature_store.push import Pusher
from feature_store.retrieve import Jobs
from feature_store.routes import historical as historical_routes
from feature_store.routes import knowledge as knowledge_routes
from feature_store.routes import online as online_routes
from feature_store.routes import push as push_routes
from feature_store.settings import FeatureStoreSettings
from feature_store.verify import Verifier
from kit.app import create_app
from kit.clock import Clock, clock_from
from kit.redis_pipeline import PipelinedRedis
from kit.tasks import TaskOwner
from shared_features import Catalogue, FeatureView, WindowView, load_catalogue

NEWEST_AMONG = 50_000
"""Rows at the log's end among which a start looks for each source's newest."""


def build(settings: FeatureStoreSettings, clock: Clock | None = None) -> FastAPI:
    """The feature store's application. Opens its log (and takes its lock); connects to nothing."""
    clock = clock or clock_from(settings.clock_file)
    catalogue = load_catalogue(settings.feature_modules)
    log = LogWriter(settings.directory / "log", sync=settings.log_sync)
    readers = PipelinedRedis(settings.redis_url, timeout_ms=settings.read_timeout_ms)
    writers = PipelinedRedis(settings.redis_url, timeout_ms=settings.write_timeout_ms)
    store = RedisStore(writers, settings.namespace)
    materializer = Materializer(catalogue, log.reader, store, apply_rows, clock, settings.namespace)
    quarantine = QuarantineFiles(settings.directory / "quarantine")
    disk = ThreadPoolExecutor(1, "feature-log")
    pusher = Pusher(catalogue, log, quarantine, clock, disk, _newest_us(catalogue, log))
    reader = OnlineReader(readers, settings.namespace)
    engine = BySizeEngine(settings.duckdb_from_bytes)
    retrieving = ThreadPoolExecutor(1, "historical")
    jobs = Jobs(settings.directory / "jobs", retrieving, settings.jobs_kept_max)
    verifier = Verifier(catalogue, log.reader, store, reader, engine, clock, settings.namespace)
    metrics.BUSINESS_TIME.set_function(lambda: clock.now_us() / 1e6)
    metrics.LOG_SEQ.set_function(lambda: log.last_seq)
    metrics.APPLIED_SEQ.set_function(materializer.applied_seq)
    metrics.ONLINE_CONNECTED.set_function(lambda: readers.connected)
    for source, seconds in _lives_s(catalogue).items():
        metrics.LIVES_S.labels(source).set(seconds)

    plans = online_routes.Plans(catalogue, reader)

    def redefine(dry_run: bool) -> dict[str, list[str]]:
        found = load_catalogue(settings.feature_modules, again=True)
        difference = catalogue.difference(found)
        if not dry_run:
            catalogue.adopt(found)
            plans.forget()
            materializer.adopt()
        return difference

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await readers.start()
        await writers.start()
        async with TaskOwner() as tasks:
            tasks.start("materialize", materializer.run, restart=True)
            tasks.start("verify", partial(verifier.run, settings.verify_every_s), restart=True)
            yield
        await readers.stop()
        await writers.stop()
        disk.shutdown()
        retrieving.shutdown(wait=False, cancel_futures=True)
        log.close()

    def ready() -> list[str]:
        missing = [] if readers.connected else ["the online store is away"]
        if not materializer.caught_up_once:
            missing.append("the online store is being filled from the log")
        return missing

    return create_app(
        "feature_store",
        "What do we know about this entity, as of when, how fresh?",
        settings,
        routers=[
            online_routes.router(plans, reader, clock),
            push_routes.router(
                pusher,
                materializer.wait_applied,
                materializer.poke,
                arrow_bytes_max=settings.arrow_bytes_max,
                rows_max=settings.rows_per_push_max,
                applied_wait_s=settings.applied_wait_s,
            ),
            historical_routes.router(
                catalogue,
                log.reader,
                engine,
                jobs,
                rows_max=settings.job_rows_max,
                arrow_bytes_max=settings.arrow_bytes_max,
            ),
            knowledge_routes.router(
                catalogue,
                log.reader,
                engine,
                quarantine,
                materializer.applied_by_view,
                pusher.newest_us,
                verifier,
                clock,
                redefine,
            ),
        ],
        lifespan=lifespan,
        ready=ready,
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
