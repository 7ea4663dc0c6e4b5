"""Wiring: the only place where the registry's parts are constructed and meet."""

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from secrets import token_bytes, token_hex
from socket import gethostname

from fastapi import APIRouter, FastAPI

from kit.app import create_app
from kit.clock import Clock, clock_from
from kit.http import internal_client
from kit.tasks import TaskOwner, periodic
from registry.adapters.artifacts_disk import DiskArtifacts
from registry.adapters.connection_mlflow import MlflowConnection
from registry.adapters.evidence_http import HttpEvidence
from registry.adapters.inspector_onnx import OnnxInspector
from registry.adapters.ledger_sql import SqlLedger
from registry.adapters.mirror_mlflow import MlflowMirror
from registry.adapters.numbers_disk import DiskNumbers
from registry.adapters.push_http import HttpTablePush
from registry.adapters.runs_mlflow import MlflowRuns
from registry.adapters.webhook_http import HttpWebhookPost
from registry.adopt import Adopt
from registry.announce import Announcer
from registry.audit import Audit
from registry.describe import Describe
from registry.experiment import Experiments
from registry.mirror import Mirror
from registry.notify import Notify
from registry.promote import Promote
from registry.publish import Publish
from registry.roll_back import RollBack
from registry.roll_out import RollOut
from registry.routes import audit as audit_routes
from registry.routes import experiments as experiment_routes
from registry.routes import models as model_routes
from registry.routes import rollouts as rollout_routes
from registry.routes import routing as routing_routes
from registry.routes import webhooks as webhook_routes
from registry.settings import RegistrySettings
from registry.steer import Steer
from registry.take_stock import TakeStock

PROVE_EVERY_S = 3600.0


class Parts:
    """Everything the registry is made of. Constructing does no I/O but reading the clock file."""

    def __init__(self, settings: RegistrySettings, clock: Clock) -> None:
        token = settings.service_token.get_secret_value()
        holder = f"{gethostname()[:40]}-{token_hex(4)}"
        lease_s, live_s = settings.lease_s, settings.replica_live_s
        self.settings = settings
        self.disk = ThreadPoolExecutor(4, "registry-disk")
        # Of their own: graphs are looked at for seconds, and nobody's routing waits for them.
        self.inspections = ThreadPoolExecutor(2, "registry-inspection")
        self.mlflow_thread = ThreadPoolExecutor(1, "registry-mlflow")
        self.pushes = internal_client("", token, settings.push_timeout_s)
        self.monitor = internal_client(settings.monitor_url, token, settings.evidence_timeout_s)
        self.hooks = HttpWebhookPost(
            clock, settings.webhook_timeout_s, private=settings.webhook_private_addresses
        )
        numbers = DiskNumbers(settings.directory / "numbers")
        self.ledger = ledger = SqlLedger(settings.database, clock, self.disk, numbers)
        self.artifacts = DiskArtifacts(
            settings.directory / "artifacts", settings.artifact_bytes_max, self.disk
        )
        self.announcer = Announcer(ledger, HttpTablePush(self.pushes), clock, live_s)
        changed, evidence = self.announcer.changed, HttpEvidence(self.monitor)
        mlflow = MlflowConnection(
            settings.mlflow_tracking, settings.mlflow_directory, self.mlflow_thread
        )
        self.mirror = Mirror(ledger, self.artifacts, MlflowMirror(mlflow), holder, lease_s)
        runs = MlflowRuns(mlflow, settings.artifact_bytes_max, settings.artifact_files_max)
        self.audit = Audit(ledger)
        self.take_stock = TakeStock(ledger, self.artifacts)
        self.adopt = Adopt(runs, self.artifacts)
        self.describe = Describe(ledger, live_s)
        self.publish = Publish(
            ledger, self.artifacts, OnnxInspector(self.inspections), changed, clock.wall_us
        )
        self.promote = Promote(ledger, changed, settings.four_eyes)
        self.roll_out = RollOut(ledger, changed, _salt, live_s, settings.four_eyes)
        self.roll_back = RollBack(ledger, changed)
        self.steer = Steer(ledger, evidence, changed, clock, holder, lease_s, live_s)
        self.experiments = Experiments(
            ledger, evidence, changed, clock, _salt, holder, lease_s, live_s
        )
        self.notify = Notify(ledger, self.hooks, _secret, clock.wall_us, holder, lease_s)

    def routers(self) -> list[APIRouter]:
        """The routes, bound to their verbs."""
        settings = self.settings
        return [
            model_routes.router(
                self.publish,
                self.adopt,
                self.promote,
                self.describe,
                self.artifacts,
                bytes_max=settings.artifact_bytes_max,
                files_max=settings.artifact_files_max,
            ),
            rollout_routes.router(self.roll_out, self.roll_back, self.describe),
            experiment_routes.router(self.experiments),
            routing_routes.router(self.announcer, long_poll_s_max=settings.long_poll_s_max),
            audit_routes.router(self.audit),
            webhook_routes.router(self.notify),
        ]

    async def mirroring(self) -> None:
        """MLflow is imported only when everything else has had the processor to start."""
        await asyncio.sleep(self.settings.mirror_s)
        await periodic(self.mirror, self.settings.mirror_s)()

    async def close(self) -> None:
        """Give back connections and threads."""
        await self.pushes.aclose()
        await self.monitor.aclose()
        await self.hooks.close()
        await asyncio.to_thread(self.disk.shutdown)
        await self.ledger.close()
        self.inspections.shutdown(wait=False, cancel_futures=True)
        self.mlflow_thread.shutdown(wait=False, cancel_futures=True)


def build(settings: RegistrySettings, clock: Clock | None = None) -> FastAPI:
    """The registry's application."""
    parts = Parts(settings, clock or clock_from(settings.clock_file))

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await parts.ledger.open()
        async with TaskOwner() as tasks:
            tasks.start("announce", parts.announcer.run, restart=True)
            tasks.start("mirror", parts.mirroring, restart=True)
            tasks.start("prove", periodic(parts.audit.verify, PROVE_EVERY_S), restart=True)
            tasks.start("stock", periodic(parts.take_stock, PROVE_EVERY_S), restart=True)
            for name, work in (
                ("steer", parts.steer),
                ("experiments", parts.experiments),
                ("notify", parts.notify),
            ):
                tasks.start(name, periodic(work, settings.tick_s), restart=True)
            yield
        await parts.close()

    return create_app(
        "registry",
        "Which versions exist, who put them there, and which take traffic?",
        settings,
        routers=parts.routers(),
        lifespan=lifespan,
        ready=list,
        on_drain=parts.announcer.release,
    )


def _salt() -> str:
    return token_hex(8)


def _secret() -> str:
    return b64encode(token_bytes(32)).decode()
