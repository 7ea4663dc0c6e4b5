"""The gateway with its Redis stopped, stalled, emptied: callers go on within their limits."""

import asyncio
import gc
import os
import re
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
import redis.asyncio

from leadline.local.embedded_redis import find_server
from tests.gateway.replica import FakeReplica
from tests.gateway.running import Running, make_key, running_gateway
from tests.polling import until

BODY = {"model": "delay", "instances": [{}]}


class OwnRedis:
    """A server of this test alone, to be treated badly."""

    def __init__(self, folder: Path) -> None:
        self.url = f"unix://{folder}/own.sock"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        arguments = ["--port", "0", "--unixsocket", f"{self._folder}/own.sock", "--save", ""]
        self._process = subprocess.Popen(
            [find_server(), *arguments, "--dir", str(self._folder)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def signal(self, number: int) -> None:
        assert self._process is not None
        os.kill(self._process.pid, number)

    def stop(self) -> None:
        if self._process is not None:
            self.signal(signal.SIGCONT)
            self._process.kill()
            self._process.wait(10)
            self._process = None


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[OwnRedis]:
    server = OwnRedis(tmp_path)
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def gateway(
    state: Path, key: str, replica: FakeReplica, own_redis: OwnRedis
) -> AsyncIterator[Running]:
    """Two gateways share the limits; this is one of them."""
    options = {"inference_frames": (replica.address,), "gateways": 2}
    async with running_gateway(state, own_redis.url, **options) as running:
        await until(lambda: replica._writers != set())
        yield running


@pytest.fixture
def no_garbage_collection() -> Iterator[None]:
    """A look at all that a test process holds takes half a second; services freeze it at start."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


async def ask(gateway: Running, key: str) -> httpx.Response:
    return await gateway.http.post("/predict", json=BODY, headers={"x-api-key": key})


async def leases_away(gateway: Running) -> float:
    """How often the limiter found no Redis."""
    found = re.search(
        r'gateway_limit_leases_total{outcome="away"} ([\d.e+]+)',
        (await gateway.http.get("/metrics")).text,
    )
    return float(found[1]) if found else 0.0


@pytest.mark.usefixtures("no_garbage_collection")
async def test_a_stalled_redis_costs_one_time_out_and_no_answer(
    gateway: Running, key: str, own_redis: OwnRedis
) -> None:
    async def shared() -> bool:
        assert (await ask(gateway, key)).status_code == 200
        return "gateway_limit_local 0.0" in (await gateway.http.get("/metrics")).text

    await until(shared)  # a busy machine may seem to stall by itself
    before = await leases_away(gateway)
    own_redis.signal(signal.SIGSTOP)
    answers = [await ask(gateway, key) for _ in range(200)]
    assert {answer.status_code for answer in answers} == {200}
    assert max(a.elapsed.total_seconds() for a in answers) < 0.5
    seconds = sum(a.elapsed.total_seconds() for a in answers)
    # The breaker asks again once a second; nobody else waits for a time-out.
    assert 1 <= await leases_away(gateway) - before <= 2 + seconds
    own_redis.signal(signal.SIGCONT)
    await until(shared)


async def test_with_redis_gone_a_gateway_spends_its_share_and_no_more(
    state: Path, gateway: Running, own_redis: OwnRedis
) -> None:
    own_redis.stop()
    frames = gateway.settings.inference_frames
    small = make_key(state, "bob", "predict", quota_rows=10, window_s=60)
    async with running_gateway(state, own_redis.url, inference_frames=frames, gateways=2) as other:
        await other.ready()
        statuses = [(await ask(other, small)).status_code for _ in range(8)]
        assert statuses == [200] * 5 + [429] * 3


async def test_keys_cannot_be_changed_without_redis_and_say_so(
    state: Path, gateway: Running, own_redis: OwnRedis, replica: FakeReplica
) -> None:
    admin = make_key(state, "root", "admin")
    own_redis.stop()
    async with running_gateway(state, own_redis.url, inference_frames=(replica.address,)) as other:
        answer = await other.http.post(
            "/v1/keys",
            json={"principal": "x", "scopes": ["predict"]},
            headers={"x-api-key": admin},
        )
    assert (answer.status_code, answer.json()["code"]) == (503, "dependency-unavailable")


async def test_with_redis_full_callers_are_answered_within_the_gateways_share(
    state: Path, gateway: Running, own_redis: OwnRedis
) -> None:
    frames = gateway.settings.inference_frames
    small = make_key(state, "bob", "predict", quota_rows=10, window_s=60)
    async with redis.asyncio.from_url(own_redis.url) as full:
        await full.config_set("maxmemory", "1")
        options = {"inference_frames": frames, "gateways": 2}
        async with running_gateway(state, own_redis.url, **options) as other:
            await other.ready()
            statuses = [(await ask(other, small)).status_code for _ in range(8)]
            assert statuses == [200] * 5 + [429] * 3
            headers = {"x-api-key": small, "idempotency-key": "a"}
            answer = await other.http.post("/predict", json=BODY, headers=headers)
            assert answer.status_code == 429


async def test_an_answer_that_could_not_be_kept_at_once_is_kept_a_little_later(
    state: Path, key: str, replica: FakeReplica, own_redis: OwnRedis
) -> None:
    # On a busy machine a memory that is heard after more than 20 ms would count as away.
    options = {"inference_frames": (replica.address,), "limiter_timeout_ms": 2_000.0}
    async with (
        running_gateway(state, own_redis.url, **options) as patient,
        redis.asyncio.from_url(own_redis.url) as full,
    ):

        async def ask_once() -> httpx.Response:
            headers = {"x-api-key": key, "idempotency-key": "a"}
            return await patient.http.post("/predict", json=BODY, headers=headers)

        async def replayed() -> bool:
            return "idempotent-replay" in (await ask_once()).headers

        await patient.ready()
        replica.holds = True
        first = asyncio.ensure_future(ask_once())
        await until(lambda: len(replica.asked) == 1)
        await full.config_set("maxmemory", "1")
        replica.let_go()
        assert (await first).status_code == 200
        await full.config_set("maxmemory", "0")
        await until(replayed)
        assert len(replica.asked) == 1
