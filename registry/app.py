"""Wiring: the only place where the registry's parts are constructed and meet."""

from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from secrets import token_hex
from socket import gethostname

from fastapi import FastAPI

from kit.app import create_app
from kit.clock import Clock, clock_from
from kit.http import internal_client
from kit.tasks import TaskOwner, periodic
from registry.adapters.artifacts_disk import DiskArtifacts
from registry.adapters.evidence_http import HttpEvidence
from registry.adapters.inspector_onnx import OnnxInspector
from registry.adapters.ledger_sql import SqlLedger
from registry.adapters.mirror_mlflow import MlflowMirror
from registry.adapters.push_http import HttpTablePush
from registry.announce import Announcer
from registry.audit import Audit
from registry.describe import Describe
from registry.mirror import Mirror
from registry.promote import Promote
from registry.publish import Publish
from registry.roll_back import RollBack
from registry.roll_out import RollOut
from registry.routes import audit as audit_routes
from registry.routes import models as model_routes
from registry.routes import rollouts as rollout_routes
from registry.routes import routing as routing_routes
from registry.settings import RegistrySettings
from registry.steer import Steer


def build(settings: RegistrySettings, clock: Clock | None = None) -> FastAPI:
    """The registry's application. Constructing does no I/O but reading the clock file."""
    clock = clock or clock_from(settings.clock_file)
    token = settings.service_token.get_secret_value()
    disk = ThreadPoolExecutor(4, "registry-disk")
    mlflow_thread = ThreadPoolExecutor(1, "registry-mlflow")
    ledger = SqlLedger(settings.database, clock, disk)
    artifacts = DiskArtifacts(settings.directory / "artifacts", settings.artifact_bytes_max, disk)
    pushes = internal_client("", token, settings.push_timeout_s)
    announcer = Announcer(ledger, HttpTablePush(pushes), clock, settings.replica_live_s)
    mirror = Mirror(
        ledger,
        artifacts,
        MlflowMirror(settings.mlflow_tracking, settings.mlflow_directory, mlflow_thread),
    )
    describe = Describe(ledger)
    monitor = internal_client(settings.monitor_url, token, settings.evidence_timeout_s)
    steer = Steer(
        ledger,
        HttpEvidence(monitor),
        announcer.changed,
        clock,
        f"{gethostname()}-{token_hex(4)}",
        settings.lease_s,
        settings.replica_live_s,
    )
    publish = Publish(ledger, artifacts, OnnxInspector(disk), announcer.changed, clock.wall_us)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await ledger.open()
        async with TaskOwner() as tasks:
            tasks.start("announce", announcer.run, restart=True)
            tasks.start("mirror", periodic(mirror, settings.mirror_s), restart=True)
            tasks.start("steer", periodic(steer, settings.tick_s), restart=True)
            yield
        await pushes.aclose()
        await monitor.aclose()
        await ledger.close()
        disk.shutdown(wait=False)
        mlflow_thread.shutdown(wait=False, cancel_futures=True)

    return create_app(
        "registry",
        "Which versions exist, who put them there, and which take traffic?",
        settings,
        routers=[
            model_routes.router(
                publish,
                Promote(ledger, announcer.changed, settings.four_eyes),
                describe,
                artifacts,
                bytes_max=settings.artifact_bytes_max,
                files_max=settings.artifact_files_max,
            ),
            rollout_routes.router(
                RollOut(
                    ledger,
                    announcer.changed,
                    lambda: token_hex(8),
                    settings.replica_live_s,
                    settings.four_eyes,
                ),
                RollBack(ledger, announcer.changed),
                describe,
            ),
            routing_routes.router(announcer, long_poll_s_max=settings.long_poll_s_max),
            audit_routes.router(Audit(ledger)),
        ],
        lifespan=lifespan,
        ready=list,
    )
