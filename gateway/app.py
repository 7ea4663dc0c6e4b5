"""Wiring: the only place of the gateway that constructs things. Constructing does no I/O."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import httpx
from fastapi import FastAPI

from gateway.adapters.edge import Edge, EdgeTimes
from gateway.adapters.jwks_http import JwksHttp
from gateway.adapters.kept_redis import KeptRedis
from gateway.adapters.keys_redis import KeysRedis
from gateway.adapters.leases_redis import LeasesRedis
from gateway.adapters.replicas_frames import ReplicasFrames
from gateway.adapters.upstream_httpx import UpstreamHttpx
from gateway.admit import Admission
from gateway.authenticate import Authenticate
from gateway.domain.access import PREDICT_BYTES_MAX, Service
from gateway.domain.envelope import Envelope, read_envelope
from gateway.domain.gcra import Policy
from gateway.domain.head import HeadLimits
from gateway.forward import Forward
from gateway.infer import Infer
from gateway.issue_keys import IssueKeys
from gateway.limit import Limit
from gateway.once import Once
from gateway.predict import Predict
from gateway.routes.door import Door
from gateway.routes.keys import keys_router
from gateway.routes.openapi import document
from gateway.routes.problems import problems_router
from gateway.settings import GatewaySettings
from kit.app import create_app
from kit.clock import Clock, SystemClock
from kit.http import outside_client
from kit.redis_pipeline import PipelinedRedis
from kit.tasks import TaskOwner, periodic

LIMIT_SWEEP_S = 0.5
EDGE_SWEEP_S = 0.5


@dataclass(slots=True, eq=False)
class Gateway:
    """The application and the edge in front of it."""

    app: FastAPI
    edge: Edge


@dataclass(slots=True, eq=False)
class _Parts:
    keys_redis: PipelinedRedis
    limit_redis: PipelinedRedis
    ring: KeysRedis
    limit: Limit
    tasks: TaskOwner
    replicas: ReplicasFrames
    upstreams: dict[Service, UpstreamHttpx]
    jwks_client: httpx.AsyncClient
    parser: ThreadPoolExecutor


def build(settings: GatewaySettings, clock: Clock | None = None) -> Gateway:
    """The gateway of these settings."""
    clock = clock or SystemClock()
    parts = _parts(settings, clock)
    token_policy = Policy(settings.token_quota_rows, settings.token_window_s)
    signing_keys = JwksHttp(parts.jwks_client, clock, parts.tasks, settings.jwks_fresh_s)
    admission = Admission(
        Authenticate(parts.ring, signing_keys, settings.issuers, token_policy, clock),
        parts.limit,
        in_flight_max=settings.in_flight_max,
        in_flight_per_key_max=settings.in_flight_per_key_max,
        request_timeout_ms=settings.request_timeout_ms,
    )

    async def off_loop(body: bytes) -> Envelope:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(parts.parser, read_envelope, body)

    predict = Predict(admission, parts.replicas, off_loop, settings.inline_bytes_max)
    infer = Infer(admission, parts.replicas, PREDICT_BYTES_MAX)
    edge = _edge(settings, predict, infer, clock)
    app = _app(settings, clock, parts, edge)
    app.add_middleware(
        Door,
        predict=predict,
        once=Once(admission, predict, KeptRedis(parts.limit_redis), parts.tasks),
        infer=infer,
        forward=Forward(admission, parts.upstreams),
        service_token=settings.service_token.get_secret_value(),
        log_access=edge.log_access,
        metrics_open=settings.metrics_open,
    )
    return Gateway(app, edge)


def _parts(settings: GatewaySettings, clock: Clock) -> _Parts:
    token = settings.service_token.get_secret_value()
    keys_redis = PipelinedRedis(settings.redis_url, timeout_ms=settings.keys_timeout_ms)
    limit_redis = PipelinedRedis(settings.redis_url, timeout_ms=settings.limiter_timeout_ms)
    tasks = TaskOwner()
    return _Parts(
        keys_redis=keys_redis,
        limit_redis=limit_redis,
        ring=KeysRedis(
            keys_redis, settings.private_dir / "keys.json", settings.read_pepper(), clock
        ),
        limit=Limit(LeasesRedis(limit_redis), clock, tasks, settings.gateways),
        tasks=tasks,
        replicas=ReplicasFrames(
            settings.inference_frames,
            clock,
            service_token=token,
            items_max=settings.replica_items_max,
            bytes_max=settings.replica_bytes_max,
            retry_budget=settings.retry_budget,
            resolve_s=settings.replica_resolve_s,
        ),
        upstreams={
            "registry": UpstreamHttpx(settings.registry_url, token),
            "feature_store": UpstreamHttpx(settings.feature_store_url, token),
            "monitor": UpstreamHttpx(settings.monitor_url, token),
        },
        jwks_client=outside_client(3.0),
        parser=ThreadPoolExecutor(1, "parse"),
    )


def _edge(settings: GatewaySettings, predict: Predict, infer: Infer, clock: Clock) -> Edge:
    return Edge(
        predict,
        infer,
        HeadLimits(
            settings.line_bytes_max,
            settings.header_bytes_max,
            settings.headers_bytes_max,
            settings.headers_max,
        ),
        EdgeTimes(
            head_s_max=settings.head_s_max,
            idle_s_max=settings.idle_s_max,
            idle_v2_s_max=settings.idle_v2_s_max,
            body_bytes_per_s_min=settings.body_bytes_per_s_min,
            body_grace_s=settings.body_grace_s,
        ),
        clock,
        connections_max=settings.connections_max,
        bodies_bytes_max=settings.bodies_bytes_max,
        access_log_share=settings.access_log_share,
        refuse=predict.refuse,
    )


def _app(settings: GatewaySettings, clock: Clock, parts: _Parts, edge: Edge) -> FastAPI:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        settings.private_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        parts.ring.load_snapshot()
        async with AsyncExitStack() as stack:
            stack.callback(parts.parser.shutdown, wait=False)
            stack.push_async_callback(parts.jwks_client.aclose)
            for upstream in parts.upstreams.values():
                stack.push_async_callback(upstream.close)
            for started in (parts.keys_redis, parts.limit_redis, parts.replicas):
                await started.start()
                stack.push_async_callback(started.stop)
            stack.push_async_callback(parts.tasks.stop)
            await parts.ring.poll()
            _start_tasks(settings, parts, edge)
            yield

    def ready() -> list[str]:
        missing = [] if parts.replicas.up else ["no inference replica is connected"]
        return missing + ([] if parts.ring.all() else ["no API key is known"])

    app = create_app(
        "gateway",
        "Who may ask, how much, and is the question well formed?",
        settings,
        routers=[
            keys_router(IssueKeys(parts.ring, clock, settings.key_env)),
            problems_router(),
        ],
        lifespan=lifespan,
        ready=ready,
    )
    document(app)
    return app


def _start_tasks(settings: GatewaySettings, parts: _Parts, edge: Edge) -> None:
    async def sweep_edge() -> None:
        edge.sweep(asyncio.get_running_loop().time())

    for name, work, every_s in (
        ("keys_poll", parts.ring.poll, settings.keys_poll_s),
        ("limit_return_idle", parts.limit.return_idle, LIMIT_SWEEP_S),
        ("edge_sweep", sweep_edge, EDGE_SWEEP_S),
    ):
        parts.tasks.start(name, periodic(work, every_s), restart=True)
