"""The gateway's hot path against a bare echo: processor time a request, all in one process.

64 connections over a unix socket each send the next request when the last one is answered; the
client's part is counted in all. The echo parses HTTP and writes a constant. The hot path is all
of it: parser, edge, key, limit, envelope, frames out and in, answer.

Where neighbours take a machine's caches, the same code costs 7 or 8 echos and not 3.5: so small a
loop as the echo stays in what is left of them. A constant ASGI app on uvicorn is slowed as the hot
path is (1.6 to 1.9 of it in such an hour), so it is the second yardstick.
"""

import asyncio
import gc
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import httptools
import uvicorn
import uvloop
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from bench.record import record
from contracts.frames import Answer, FrameReader, pack_answer
from gateway.adapters.edge import Edge, EdgeTimes
from gateway.adapters.edge_httptools import EdgeProtocol
from gateway.adapters.replica_link import ReplicaLink
from gateway.adapters.replicas_frames import ReplicasFrames
from gateway.admit import Admission
from gateway.authenticate import Authenticate
from gateway.domain.envelope import Envelope, read_envelope
from gateway.domain.gcra import Grant, Policy
from gateway.domain.head import HeadLimits
from gateway.domain.keys import KeyRecord, mint_key
from gateway.infer import Infer
from gateway.limit import Limit
from gateway.predict import Predict
from kit.clock import SystemClock
from kit.tasks import TaskOwner

CONNECTIONS = 64
RATIO_MAX, RATIO_ASGI_MAX = 5.5, 2.2
"""The gate in CI (tests/bench): the hot path costs less than so many answers of a constant ASGI
app, and on a calm machine less than so many bare echos."""
CALM_MAX = 2.8
"""A machine is calm where the constant ASGI app costs no more echos than that. No change of the hot
path moves this."""

_ROW = ",".join(f'"f{i}":0.{i}5' for i in range(10))
_BODY = f'{{"model":"speed","instances":[{{"user":"u17",{_ROW}}}]}}'.encode()
_ANSWER = Answer(
    200,
    b'{"request_id":"00000000000000000000000000000000","model":"speed","version":"1",'
    b'"variant":"production","predictions":[{"prediction":1,"probability":0.5}],"cache":"off"}',
)


def main(*, quick: bool) -> None:
    """Measure and record."""
    measured = measure(rounds=3 if quick else 9, requests=6_400 if quick else 32_000)
    hot, echo, asgi = measured["hot_us"], measured["echo_us"], measured["asgi_us"]
    record(
        "gateway_hot_path",
        quick=quick,
        figures=measured,
        tables={
            "processor time a request": [
                {"what": "bare echo", "us": round(echo, 2), "echos": 1.0},
                {"what": "constant ASGI app", "us": round(asgi, 2), "echos": round(asgi / echo, 2)},
                {"what": "hot path", "us": round(hot, 2), "echos": round(measured["ratio"], 2)},
            ]
        },
        notes=[
            f"medians of the rounds; hot path: {measured['ratio_asgi']:.2f} constant ASGI apps",
            f"CI refuses more than {RATIO_ASGI_MAX} ASGI apps; on a calm machine {RATIO_MAX} echos",
        ],
    )


def measure(*, rounds: int, requests: int) -> dict[str, float]:
    """Microseconds of processor time a request, of each, and the hot path's median ratios."""
    found: dict[str, float] = uvloop.run(_measure(rounds, requests))
    return found


async def _measure(rounds: int, requests: int) -> dict[str, float]:
    hot_us, echo_us, asgi_us = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        async with TaskOwner() as tasks:
            key, edge_protocol = _hot(tasks)
            hot = await _Load.connect(edge_protocol, f"{folder}/hot", _request(key))
            echo = await _Load.connect(_Echo, f"{folder}/echo", _request(key))
            asgi = await _Load.connect(_asgi(), f"{folder}/asgi", _request(key))
            for load in (hot, echo, asgi):  # warm up, and let the edge know its host
                await load.run(50 * CONNECTIONS)
            gc.collect()
            gc.freeze()
            for _ in range(rounds):
                hot_us.append(await hot.run(requests))
                echo_us.append(await echo.run(requests))
                asgi_us.append(await asgi.run(requests))
            assert hot.faults == echo.faults == asgi.faults == 0, "not answered with 200"
            await hot.close()
            await echo.close()
            await asgi.close()
    return {
        "hot_us": statistics.median(hot_us),
        "echo_us": statistics.median(echo_us),
        "asgi_us": statistics.median(asgi_us),
        "ratio": _ratio(hot_us, echo_us),
        "ratio_asgi": _ratio(hot_us, asgi_us),
    }


def _ratio(mine: Sequence[float], theirs: Sequence[float]) -> float:
    return statistics.median(one / other for one, other in zip(mine, theirs, strict=True))


def _request(key: str) -> bytes:
    head = f"POST /predict HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nContent-Length: {len(_BODY)}\r\n"
    return f"{head}Authorization: Bearer {key}\r\n\r\n".encode() + _BODY


class _Load:
    """A server and its 64 callers."""

    def __init__(self, server: asyncio.Server, request: bytes) -> None:
        self._server = server
        self.request = request
        self.callers: list[_Caller] = []
        self.left = self.open = self.faults = 0
        self.done = asyncio.Event()

    @classmethod
    async def connect(
        cls, protocol: Callable[[], asyncio.BaseProtocol], path: str, request: bytes
    ) -> "_Load":
        """Listen with ``protocol`` and call."""
        loop = asyncio.get_running_loop()
        server = await loop.create_unix_server(protocol, path)
        load = cls(server, request)
        for _ in range(CONNECTIONS):
            _, caller = await loop.create_unix_connection(lambda: _Caller(load), path)
            load.callers.append(caller)
        return load

    async def run(self, requests: int) -> float:
        """Processor microseconds a request, over so many requests."""
        self.left, self.open = requests - CONNECTIONS, CONNECTIONS
        self.done.clear()
        before_s = time.process_time()
        for caller in self.callers:
            caller.send()
        await self.done.wait()
        return (time.process_time() - before_s) / requests * 1e6

    def answered(self, caller: "_Caller", *, sound: bool) -> None:
        """One answer came."""
        self.faults += not sound
        if self.left > 0:
            self.left -= 1
            caller.send()
            return
        self.open -= 1
        if self.open == 0:
            self.done.set()

    async def close(self) -> None:
        """Hang up."""
        for caller in self.callers:
            caller.transport.abort()
        self._server.close()
        await asyncio.sleep(0.01)


class _Caller(asyncio.Protocol):
    """One connection; answers here are small enough to come in one piece."""

    def __init__(self, load: _Load) -> None:
        self._load = load
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def send(self) -> None:
        """The next request."""
        self.transport.write(self._load.request)

    def data_received(self, data: bytes) -> None:
        self._load.answered(self, sound=data.startswith(b"HTTP/1.1 20"))


class _Echo(asyncio.Protocol):
    """The least that answers HTTP: parse, write a constant."""

    _ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(_ANSWER.body), _ANSWER.body)

    def __init__(self) -> None:
        self._parser = httptools.HttpRequestParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        self._transport.write(self._ANSWER)


def _asgi() -> Callable[[], asyncio.BaseProtocol]:
    """uvicorn with httptools under an app that reads the body and writes a constant."""
    headers = [(b"content-length", b"%d" % len(_ANSWER.body))]

    async def app(_scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": _ANSWER.body})

    config = uvicorn.Config(app, log_config=None, access_log=False)
    config.load()
    state = ServerState()
    return lambda: HttpToolsProtocol(config, state, {})


class _Replica(asyncio.Transport):
    """The far side of the link: answers each frame in the next turn of the loop."""

    def __init__(self, link: ReplicaLink) -> None:
        super().__init__()
        self._link = link
        self._frames = FrameReader()

    def write(self, data: Any) -> None:
        out = [pack_answer(frame_id, _ANSWER) for _, frame_id, _ in self._frames.feed(data)]
        asyncio.get_running_loop().call_soon(self._link.data_received, b"".join(out))


class _Ring:
    """One key."""

    def __init__(self, pepper: bytes, record: KeyRecord) -> None:
        self.pepper = pepper
        self._record = record

    def get(self, key_id: str) -> KeyRecord | None:
        return self._record if key_id == self._record.id else None

    def all(self) -> tuple[KeyRecord, ...]:
        return (self._record,)

    async def put(self, record: KeyRecord) -> None:
        self._record = record


class _Store:
    """Grants what is wanted: leases are seldom asked for, and Redis is not measured here."""

    async def lease(self, _name: str, policy: Policy, wanted: int, _least: int) -> Grant:
        return Grant(wanted, 0, policy.quota_rows, 0)

    async def refund(self, name: str, policy: Policy, rows: int) -> None:
        """Nothing was kept, so nothing comes back."""


class _NoTokens:
    """No issuer is configured."""

    async def key(self, _jwks_url: str, key_id: str) -> object:
        raise KeyError(key_id)


def _hot(tasks: TaskOwner) -> tuple[str, Callable[[], asyncio.BaseProtocol]]:
    clock, pepper = SystemClock(), b"p" * 32
    key, known = mint_key(
        "local", "bench", ["predict"], pepper=pepper, now_us=1, quota_rows=60_000_000
    )
    admission = Admission(
        Authenticate(_Ring(pepper, known), _NoTokens(), (), Policy(1, 1), clock),
        Limit(_Store(), clock, tasks, 1),
        in_flight_max=4096,
        in_flight_per_key_max=1024,
        request_timeout_ms=5000,
    )
    replicas = ReplicasFrames(
        (), clock, items_max=8192, bytes_max=1 << 27, retry_budget=0.1, resolve_s=5
    )
    link = ReplicaLink("unix:///none", asyncio.get_running_loop())
    link.connection_made(_Replica(link))
    replicas.adopt(link)
    pool = ThreadPoolExecutor(1)

    async def off_loop(body: bytes) -> Envelope:
        return await asyncio.get_running_loop().run_in_executor(pool, read_envelope, body)

    predict = Predict(admission, replicas, off_loop, 1 << 18)
    edge = Edge(
        predict,
        Infer(admission, replicas, 1 << 22),
        HeadLimits(),
        EdgeTimes(),
        SystemClock(),
        connections_max=1000,
        bodies_bytes_max=1 << 28,
        access_log_share=0.0,
        refuse=predict.refuse,
    )
    config = uvicorn.Config(_nothing, log_config=None, access_log=False)
    state = ServerState()
    state.default_headers = [(b"date", b"Sun, 22 Nov 2026 21:00:00 GMT")]
    options = {"config": config, "server_state": state, "app_state": {}}
    return key, lambda: EdgeProtocol(edge, **options)


async def _nothing(_scope: Any, _receive: Any, send: Any) -> None:
    """Answers the first request of each connection, which goes the ordinary way."""
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


if __name__ == "__main__":
    main(quick=True)
