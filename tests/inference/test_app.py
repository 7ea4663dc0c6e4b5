"""A whole replica on a real Redis, its registry away: what it saw last is on its disk."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import orjson
import pytest
import redis
from fastapi import FastAPI

from contracts.frames import Answer, Ask, FrameKind, FrameReader, pack_ask, unpack_answer
from contracts.routing import Arm, ModelRoute, RoutingTable
from contracts.served import STREAM, decode_served
from feature_store.domain.plan import applied_key
from inference.app import Inference
from inference.settings import InferenceSettings
from kit.telemetry import exposition
from tests.inference.parts import body, catalogue, defaults, logistic_model, manifest_for
from tests.polling import until

DEFINITIONS = """
from shared_features.definitions import Entity, FeatureService, FeatureView
names = tuple(f"f{index}" for index in range(10))
account = Entity("account", {"account": "string"})
stats = FeatureView("stats", account, dict.fromkeys(names, "float64"))
risk = FeatureService("risk", tuple(f"stats:{name}" for name in names))
"""


@pytest.fixture
def settings(tmp_path: Path, redis_url: str) -> InferenceSettings:
    """A replica's settings; its disk holds version 1 of the model ``risk``."""
    (tmp_path / "definitions.py").write_text(DEFINITIONS)
    with redis.Redis.from_url(redis_url) as client:  # the view is there, and empty
        (view,) = catalogue().compile("risk").reads
        client.hset(applied_key("ll"), view.fingerprint, "0")
    folder = tmp_path / "inference"
    (folder / "manifests").mkdir(parents=True)
    (folder / "artifacts").mkdir()
    content = logistic_model([0.1] * 10)
    manifest = manifest_for(content, inputs=defaults(0.5))
    (folder / "manifests" / "risk@1.json").write_text(manifest.model_dump_json())
    (folder / "artifacts" / manifest.files[0].sha256).write_bytes(content)
    table = RoutingTable(
        epoch=3,
        models={"risk": ModelRoute(arms=(Arm(version="1", variant="production", weight=1.0),))},
    )
    (folder / "routing.json").write_text(table.model_dump_json())
    return InferenceSettings(
        state_dir=tmp_path,
        redis_url=redis_url,
        feature_modules=(str(tmp_path / "definitions.py"),),
        registry_url="http://127.0.0.1:1",
        inference_frames=(f"unix://{tmp_path}/frames",),
        features_timeout_ms=2_000.0,
        drain_s=1.0,
    )


class Gateway(asyncio.Protocol):
    """The asking side of a frames connection."""

    def __init__(self) -> None:
        self.reader = FrameReader()
        self.answers: dict[int, Answer] = {}
        self.going_away = False
        self.lost = False
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass

    def data_received(self, data: bytes) -> None:
        for kind, frame_id, payload in self.reader.feed(data):
            if kind == FrameKind.GOAWAY:
                self.going_away = True
            else:
                self.answers[frame_id] = unpack_answer(payload)

    def connection_lost(self, _: Exception | None) -> None:
        self.lost = True

    def send(self, frame_id: int, content: bytes, kind: FrameKind = FrameKind.PREDICT) -> None:
        ask = Ask(1000, frame_id.to_bytes(16, "big"), "risk", "tester", "", b"", content)
        assert self.transport is not None
        self.transport.write(pack_ask(kind, frame_id, ask))


@asynccontextmanager
async def running(settings: InferenceSettings) -> AsyncIterator[tuple[Inference, Gateway]]:
    """The replica, and a connection to it."""
    inference = Inference(settings)
    async with inference.lifespan(FastAPI()):
        path = settings.inference_frames[0].removeprefix("unix://")
        transport, gateway = await asyncio.get_running_loop().create_unix_connection(Gateway, path)
        yield inference, gateway
    transport.close()
    await until(lambda: gateway.lost)


async def test_a_replica_serves_by_what_it_saw_last(settings: InferenceSettings) -> None:
    async with running(settings) as (inference, gateway):
        assert inference.ready() == []
        for frame_id in range(1, 11):
            gateway.send(frame_id, orjson.dumps(body("a")))
        await until(lambda: len(gateway.answers) == 10)
        assert {answer.status for answer in gateway.answers.values()} == {200}
        told = orjson.loads(gateway.answers[7].body)
        assert told["request_id"] == (7).to_bytes(16, "big").hex()
        assert told["degraded"][0]["status"] == "DEFAULTED"


async def test_a_replica_that_knows_no_table_yet_takes_no_asks(settings: InferenceSettings) -> None:
    path = settings.state_dir / "inference" / "routing.json"
    table = RoutingTable.model_validate_json(path.read_bytes())
    path.unlink()
    address = settings.inference_frames[0].removeprefix("unix://")
    loop = asyncio.get_running_loop()
    inference = Inference(settings)
    async with inference.lifespan(FastAPI()):
        with pytest.raises(FileNotFoundError):
            await loop.create_unix_connection(Gateway, address)
        inference.follow.offer(table)
        await until(lambda: Path(address).exists())
        transport, gateway = await loop.create_unix_connection(Gateway, address)
        gateway.send(1, orjson.dumps(body("a")))
        await until(lambda: 1 in gateway.answers)
        assert gateway.answers[1].status == 200
    transport.close()


async def test_what_was_served_reaches_the_stream_and_leaves_the_spool(
    settings: InferenceSettings,
) -> None:
    async with running(settings) as (inference, gateway):
        gateway.send(1, orjson.dumps(body("a", "b")))
        await until(lambda: len(gateway.answers) == 1)
        await until(lambda: inference.spool.bytes_waiting == 0)
        assert inference.stream.aof
    with redis.Redis.from_url(settings.redis_url) as client:
        entries = client.xrange(STREAM)
    assert [entry[b"s"] for _, entry in entries] == [b"1"]
    assert decode_served(entries[0][1][b"d"]).units == ("a", "b")


async def test_a_replica_that_stops_says_goodbye_and_answers_what_is_open(
    settings: InferenceSettings,
) -> None:
    async with running(settings) as (inference, gateway):
        await until(lambda: len(inference.listeners[0].connections) == 1)
        gateway.send(1, orjson.dumps(body("a")))
    await until(lambda: gateway.lost)
    assert gateway.going_away
    assert gateway.answers[1].status == 200


async def test_a_peer_that_speaks_no_frames_is_hung_up_on(settings: InferenceSettings) -> None:
    async with running(settings) as (_, gateway):
        assert gateway.transport is not None
        gateway.transport.write(b"GET / HTTP/1.1\r\n\r\n" * 4)
        await until(lambda: gateway.lost)


async def test_a_stalled_store_degrades_answers_within_their_deadline(
    settings: InferenceSettings, redis_url: str
) -> None:
    patient = settings.model_copy(update={"features_timeout_ms": 50.0})
    with redis.Redis.from_url(redis_url) as client:
        pid = int(client.info("server")["process_id"])
    async with running(patient) as (inference, gateway):
        gateway.send(1, orjson.dumps(body("a")))
        await until(lambda: 1 in gateway.answers)
        os.kill(pid, signal.SIGSTOP)
        try:
            for frame_id in range(2, 12):
                gateway.send(frame_id, orjson.dumps(body("a")))
                await until(lambda frame_id=frame_id: frame_id in gateway.answers, 1.0)  # type: ignore[misc]
        finally:
            os.kill(pid, signal.SIGCONT)
        assert {answer.status for answer in gateway.answers.values()} == {200}
        told = orjson.loads(gateway.answers[9].body)
        assert {one["status"] for one in told["degraded"]} == {"UNAVAILABLE"}
        await until(lambda: inference.features.connected)
        gateway.send(99, orjson.dumps(body("a")))
        await until(lambda: 99 in gateway.answers)
        recovered = orjson.loads(gateway.answers[99].body)
        assert {one["status"] for one in recovered["degraded"]} == {"DEFAULTED"}
        await until(lambda: inference.spool.bytes_waiting == 0)  # nothing of it is lost
    with redis.Redis.from_url(redis_url) as client:
        sequences = {int(entry[b"s"]) for _, entry in client.xrange(STREAM)}
    assert sequences == set(range(1, 13))


async def test_a_full_store_is_read_as_ever_and_what_was_served_waits_in_the_spool(
    settings: InferenceSettings, redis_url: str
) -> None:
    async with running(settings) as (inference, gateway):
        with redis.Redis.from_url(redis_url) as client:
            client.config_set("maxmemory", "1")
            try:
                for frame_id in range(1, 11):
                    gateway.send(frame_id, orjson.dumps(body("a")))
                await until(lambda: len(gateway.answers) == 10)
                assert {answer.status for answer in gateway.answers.values()} == {200}
                told = orjson.loads(gateway.answers[10].body)
                assert {one["status"] for one in told["degraded"]} == {"DEFAULTED"}
                await until(lambda: inference.ship.behind)
                assert inference.spool.bytes_waiting > 0
                assert not client.exists(STREAM)
            finally:
                client.config_set("maxmemory", "0")
            await until(lambda: inference.spool.bytes_waiting == 0)
            records = {int(one[b"s"]): one[b"d"] for _, one in client.xrange(STREAM)}
    assert sum(len(decode_served(data).units) for data in records.values()) == 10


async def test_the_metrics_say_what_was_served(settings: InferenceSettings) -> None:
    async with running(settings) as (_, gateway):
        gateway.send(1, orjson.dumps(body("a", "b")))
        gateway.send(2, b"{")
        await until(lambda: len(gateway.answers) == 2)
        said = exposition()[0].decode()
    assert 'inference_requests_total{model="risk",outcome="ok",version="1"} 1.0' in said
    assert 'inference_rows_total{model="risk",outcome="ok",version="1"} 2.0' in said
    assert 'inference_request_duration_seconds_count{model="risk",version="1"} 1.0' in said
    assert 'inference_batch_rows_sum{model="risk",version="1"} 2.0' in said
    assert 'inference_model_state{model="risk",state="ready",version="1"} 1.0' in said
    assert 'inference_refused_total{code="malformed-json"} 1.0' in said
    assert "inference_spool_records_total 1.0" in said
