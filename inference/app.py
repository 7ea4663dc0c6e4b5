"""Builds inference out of its parts; constructing does no I/O, ``lifespan`` does."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from socket import gethostname

import numpy as np
from fastapi import FastAPI

from contracts.manifest import Manifest
from feature_store.online import OnlineReader
from inference import metrics, routes
from inference.adapters.artifacts_disk import DiskArtifacts
from inference.adapters.builder_onnx import OnnxBuilder
from inference.adapters.cpu_quota import cpu_quota
from inference.adapters.engine_onnxruntime import OnnxEngine
from inference.adapters.exposition_prometheus import InferenceCollector
from inference.adapters.frames_asyncio import FramesListener
from inference.adapters.low_priority import lower_priority
from inference.adapters.registry_http import HttpRegistry
from inference.adapters.remembered import RememberedAnswers
from inference.adapters.session_onnxruntime import OnnxSession
from inference.adapters.slots import Slots
from inference.adapters.spool_file import FileSpool
from inference.adapters.stream_redis import RedisStream
from inference.adapters.trials_disk import DiskTrials
from inference.describe import Describe
from inference.domain.pace import Paces
from inference.follow import Follow
from inference.infer import Infer
from inference.load import Load
from inference.metrics import Instrument
from inference.predict import Predict
from inference.record import Record
from inference.respond import Respond
from inference.route import Route
from inference.score import Score
from inference.settings import InferenceSettings
from inference.shadow import Shadow
from inference.ship import Ship
from kit.app import create_app
from kit.clock import clock_from
from kit.http import internal_client
from kit.redis_pipeline import PipelinedRedis
from kit.tasks import TaskOwner, periodic
from kit.telemetry import REGISTRY
from shared_features.catalogue import load_catalogue

DESCRIPTION = "Which version answers, and what does it say?"


class Inference:
    """The parts of one replica, wired."""

    def __init__(self, settings: InferenceSettings) -> None:
        self.settings = settings
        folder = settings.state_dir / "inference"
        self.clock = clock_from(settings.clock_file)
        self.tasks = TaskOwner()
        self.replica = settings.replica or gethostname()
        quota = cpu_quota()
        # Two runs at a time: while a slow canary computes, the stable version finds a slot.
        slots = settings.slots or min(2, quota)
        self.threads = settings.threads or max(1, quota // slots)
        self.computing = ThreadPoolExecutor(slots, "compute")
        # A model's own threads are born where it is loaded, and would be as nice.
        lower = lower_priority if self.threads == 1 else None
        self.loading = ThreadPoolExecutor(1, "load", initializer=lower)
        self.slots = Slots(slots, self.tasks)
        self._connect(folder)
        self.follow = Follow(self.registry, self.clock, settings.poll_s)
        self.load = self._load(folder)
        self._bind()
        self.listeners = [
            FramesListener(
                address,
                clock=self.clock,
                predict=self.predict.submit,
                infer=self.infer.submit,
                service_token=settings.service_token.get_secret_value(),
                delay_us=settings.queue_delay_us_max,
            )
            for address in settings.inference_frames[:1]
        ]
        self.collector = InferenceCollector(
            lambda: self.load.fleet,
            lambda: tuple(self.load.states.values()),
            self.respond.refused,
            self._gauges,
            self._counters,
        )

    def _connect(self, folder: Path) -> None:
        """Whom it talks to: a connection to Redis for each use, so that none starves another."""
        settings = self.settings
        self.features = PipelinedRedis(settings.redis_url, timeout_ms=settings.features_timeout_ms)
        self.answers = PipelinedRedis(settings.redis_url, timeout_ms=settings.cache_timeout_ms)
        self.adding = PipelinedRedis(settings.redis_url, timeout_ms=2_000)
        self.asking = PipelinedRedis(settings.redis_url, timeout_ms=5_000)
        self.reader = OnlineReader(self.features, namespace="ll")
        self.client = internal_client(
            settings.registry_url, settings.service_token.get_secret_value(), timeout_s=30.0
        )
        self.registry = HttpRegistry(self.client, folder)
        self.spool = FileSpool(
            folder / "spool", replica=self.replica, bytes_max=settings.spool_bytes_max
        )
        self.stream = RedisStream(self.adding, self.asking, settings.partitions)
        self.ship = Ship(self.spool, self.stream, self.clock)

    def _bind(self) -> None:
        """The verbs, each given what it needs."""
        settings = self.settings
        self.respond = Respond(self.clock)
        record = Record(self.spool)
        self.paces = Paces()
        score = Score(
            features=self.reader,
            cache=RememberedAnswers(self.answers, self.clock, settings.cache_bytes_max),
            clock=self.clock,
            rng=np.random.default_rng(),
        )
        self.shadow = Shadow(
            score=score,
            record=record,
            paces=self.paces,
            clock=self.clock,
            rows_max=settings.shadow_rows_max,
        )
        self.predict = Predict(
            route=Route(lambda: self.load.fleet),
            score=score,
            record=record,
            respond=self.respond,
            paces=self.paces,
            clock=self.clock,
            tasks=self.tasks,
            rows_in_flight_max=settings.rows_in_flight_max,
            afterwards=self.shadow.offer,
        )
        self.infer = Infer(
            fleet=lambda: self.load.fleet,
            record=record.raw,
            describe=Describe(
                fleet=lambda: self.load.fleet,
                ready=self.ready,
                server_version=version("leadline"),
            ),
            paces=self.paces,
            clock=self.clock,
            tasks=self.tasks,
            rows_in_flight_max=settings.rows_in_flight_max,
        )

    def _load(self, folder: Path) -> Load:
        settings = self.settings
        builder = OnnxBuilder(
            load_catalogue(settings.feature_modules),
            self.reader,
            self._engine,
            settings.providers,
            self.threads,
        )
        return Load(
            replica=self.replica,
            push_url=settings.push_url,
            follow=self.follow,
            registry=self.registry,
            artifacts=DiskArtifacts(
                folder / "artifacts", self.registry.download, settings.artifacts_bytes_max
            ),
            builder=builder,
            trials=DiskTrials(folder / "trials", self.replica, self.clock),
            executor=self.loading,
            report_every_s=settings.report_every_s,
        )

    def _engine(self, session: OnnxSession, manifest: Manifest) -> OnnxEngine:
        return OnnxEngine(
            session,
            clock=self.clock,
            slots=self.slots,
            executor=self.computing,
            rows_max=manifest.rows_per_batch_max,
            inline_us_max=self.settings.inline_us_max,
        )

    def _gauges(self) -> Iterator[tuple[Instrument, float]]:
        yield metrics.ROUTING_EPOCH, self.load.fleet.epoch
        yield metrics.REGISTRY_AWAY, float(self.follow.away)
        yield metrics.IN_FLIGHT, sum(listener.in_flight for listener in self.listeners)
        yield metrics.SPOOL_BYTES, self.spool.bytes_waiting
        yield metrics.LOG_AOF, float(self.stream.aof)

    def _counters(self) -> Iterator[tuple[Instrument, float]]:
        yield metrics.SPOOL_RECORDS, self.spool.records
        yield metrics.SPOOL_DROPPED_ROWS, self.spool.rows_dropped
        yield metrics.SHIPPED, self.ship.shipped
        yield metrics.SHIP_FAILURES, self.ship.failures

    async def sync(self) -> None:
        """Make the spool survive a power cut."""
        await asyncio.to_thread(self.spool.sync)

    @asynccontextmanager
    async def lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        """Recover, connect, load, listen; at the end: drain, flush, close."""
        self.spool.open()
        connections = (self.features, self.answers, self.adding, self.asking)
        for connection in connections:
            await connection.start()
        await self.load.start()
        self.tasks.start("follow_registry", self.follow.poll_for_ever, restart=True)
        self.tasks.start("reconcile", self.load.reconcile, restart=True)
        self.tasks.start("report", self.load.report_for_ever, restart=True)
        self.tasks.start("shadow", self.shadow.run, restart=True)
        self.tasks.start("ship", self.ship.run, restart=True)
        self.tasks.start("sync", periodic(self.sync, self.settings.spool_sync_s), restart=True)
        listening = None
        if self.load.in_effect.is_set():
            await self._listen()
        else:
            listening = self.tasks.start("listen", self._listen_later, restart=True)
        REGISTRY.register(self.collector)
        try:
            yield
        finally:
            REGISTRY.unregister(self.collector)
            if listening is not None:
                listening.cancel()
            for listener in self.listeners:
                await listener.drain(self.settings.drain_s)
            await self.tasks.stop()
            await self.load.leave()
            for connection in connections:
                await connection.stop()
            await self.client.aclose()
            self.spool.close()
            self.computing.shutdown(wait=False)
            self.loading.shutdown(wait=False)

    async def _listen(self) -> None:
        for listener in self.listeners:
            await listener.start()

    async def _listen_later(self) -> None:
        """A replica that does not know yet what it serves would refuse what others can answer."""
        await self.load.in_effect.wait()
        await self._listen()

    def say_goodbye(self) -> None:
        """The process is about to stop: gateways ask elsewhere from now on."""
        for listener in self.listeners:
            listener.say_goodbye()

    def ready(self) -> list[str]:
        """What is missing before this replica can answer."""
        return self.load.missing()


def make_app(settings: InferenceSettings) -> FastAPI:
    """The HTTP application of one replica."""
    inference = Inference(settings)
    return create_app(
        "inference",
        DESCRIPTION,
        settings,
        routers=[
            routes.internal(inference.follow.offer),
            routes.open_inference(inference.infer, inference.clock, open_to_all=settings.v2_open),
        ],
        lifespan=inference.lifespan,
        ready=inference.ready,
        on_drain=inference.say_goodbye,
    )
