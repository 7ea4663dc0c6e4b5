"""Online look-ups of ten features, with statuses and ages: ours, and Feast with the same Redis.

In process on a unix socket, one caller after another, 1 and 100 entities; over HTTP beside ``feast
serve``, both asked by wrk. Beside it: what a push costs a row, how far the applier lags behind a
steady stream, and how much memory Redis takes.
"""

import asyncio
import json
import os
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow.parquet as pq
import redis
from pydantic import SecretStr

from bench.feature_historical import FEAST, ROOT
from bench.feature_peers import data, over_http
from bench.feature_peers.definitions import REFS, catalogue
from bench.peers.environments import environment_of
from bench.record import record
from contracts.identity import SERVICE_TOKEN_HEADER
from feature_store.app import build
from feature_store.facade import FeatureStore
from feature_store.look_up import look_up
from feature_store.online import OnlineReader
from feature_store.settings import FeatureStoreSettings
from kit.clock import SystemClock
from kit.redis_pipeline import PipelinedRedis
from leadline.local.embedded_redis import find_server

ENTITIES = 20_000
TOKEN = "b" * 32
Row = dict[str, Any]


def main(*, quick: bool) -> None:
    """A quick run asks a tenth as often and leaves Feast out."""
    rounds = 300 if quick else 3000
    with tempfile.TemporaryDirectory(prefix="ll") as folder:
        data.write(Path(folder), 2 * ENTITIES, 10, ENTITIES)
        users = _known(Path(folder))
        with _redis(folder) as socket:
            rows, figures = asyncio.run(_ours(Path(folder), socket, rounds, quick=quick))
            http = over_http.ours(Path(folder), socket, users, 2 if quick else 10)
        if not quick:
            with _redis(folder) as socket:
                theirs = _feast(Path(folder), socket, rounds)
                python = environment_of(FEAST) / "python"
                port = _tcp_in_front_of(socket)
                http += over_http.feast(python, Path(folder), port, users, 10)
            figures |= over_http.compared(http)
            for count in (1, 100):
                ours = next(r for r in rows if r["entities"] == count and "process" in r["who"])
                peer = next(r for r in theirs if r["entities"] == count)
                figures[f"rate_over_feast_{count}"] = ours["look-ups/s"] / peer["look-ups/s"]
            rows += theirs
    tables = {
        "Look-ups of 10 features": rows,
        "The same over HTTP, one entity a request": http,
        "Writing": [{"what": name, "figure": value} for name, value in figures.items()],
    }
    record("feature_online", quick=quick, figures=figures, tables=tables)


def _known(folder: Path) -> list[int]:
    """Some users of whom something is known."""
    users = pq.read_table(folder / "source.parquet", columns=["user"])["user"]
    return [int(one) for one in users.unique().to_pylist()[: over_http.BODIES]]


@contextmanager
def _redis(folder: str) -> Iterator[str]:
    socket = f"{folder}/redis.sock"
    command = [str(find_server()), "--port", "0", "--unixsocket", socket, "--save", "", "--dir"]
    with subprocess.Popen([*command, folder], stdout=subprocess.DEVNULL) as process:
        try:
            client = redis.Redis.from_url(f"unix://{socket}")
            for _ in range(10_000):
                try:
                    client.ping()
                    break
                except redis.ConnectionError:
                    continue
            yield socket
        finally:
            process.terminate()
            process.wait()


@asynccontextmanager
async def _service(folder: Path, socket: str) -> AsyncIterator[httpx.AsyncClient]:
    """The service's application, asked over a real HTTP connection."""
    import uvicorn

    settings = FeatureStoreSettings(
        state_dir=folder,
        redis_url=f"unix://{socket}",
        service_token=SecretStr(TOKEN),
        feature_modules=("bench.feature_peers.definitions",),
        read_timeout_ms=1000,
    )
    config = uvicorn.Config(
        build(settings), uds=f"{folder}/http.sock", log_level="error", access_log=False,
        loop="uvloop", http="httptools",
    )  # fmt: skip
    server = uvicorn.Server(config)
    running = asyncio.get_running_loop().create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0.05)
    transport = httpx.AsyncHTTPTransport(uds=f"{folder}/http.sock")
    headers = {SERVICE_TOKEN_HEADER: TOKEN}
    async with httpx.AsyncClient(
        transport=transport, base_url="http://fs", headers=headers, timeout=60
    ) as client:
        yield client
    server.should_exit = True
    await running


async def _ours(
    folder: Path, socket: str, rounds: int, *, quick: bool
) -> tuple[list[Row], dict[str, Any]]:
    figures: dict[str, Any] = {}
    store = FeatureStore(catalogue(), folder / "feature_store" / "log")
    table = pq.read_table(folder / "source.parquet")
    await asyncio.to_thread(store.load, "facts", table)
    raw = redis.Redis.from_url(f"unix://{socket}")
    before = raw.info("memory")["used_memory"]
    async with _service(folder, socket) as client:
        began = time.perf_counter()
        while (await client.get("/readyz")).status_code != 200:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        filled_s = time.perf_counter() - began
        values = len({*table["user"].to_pylist()})
        memory = raw.info("memory")["used_memory"] - before
        figures["cold start, values/s"] = values / max(filled_s, 1e-6)
        figures["Redis MB per million values of 10 float64"] = memory / values
        rows = await _in_process(socket, rounds)
        figures |= await _pushes(client, seconds=2 if quick else 10)
    return rows, figures


async def _in_process(socket: str, rounds: int) -> list[Row]:
    pipeline = PipelinedRedis(f"unix://{socket}", timeout_ms=1000)
    await pipeline.start()
    reader = OnlineReader(pipeline)
    plan = reader.plan(catalogue().compile_refs(REFS))
    clock = SystemClock()
    rows = []
    for count in (1, 100):
        seconds = []
        for turn in range(rounds if count == 1 else rounds // 10):
            asked = [{"user": (turn * 37 + i) % ENTITIES} for i in range(count)]
            began = time.perf_counter()
            found = await look_up(reader, plan, asked, clock)
            seconds.append(time.perf_counter() - began)
            assert len(found.columns[REFS[0]].status) == count
        rows.append(_row("Leadline in process", count, seconds[len(seconds) // 10 :]))
    await pipeline.stop()
    return rows


async def _pushes(client: httpx.AsyncClient, seconds: float) -> dict[str, Any]:
    """500 rows ten times a second, each waited for until it is online; and their cost."""
    lags, costs = [], []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        began = time.perf_counter()
        at = datetime.now(UTC).isoformat()
        rows = [
            {"user": i, "event_time": at, **dict.fromkeys(data.FEATURES, 0.5)} for i in range(500)
        ]
        body = {"source": "facts", "rows": rows}
        answer = await client.post("/v1/features/push", json=body)
        costs.append((time.perf_counter() - began) / 500)
        goal = answer.json()["last_seq"]
        while True:
            fresh = (await client.get("/v1/features/freshness")).json()
            if fresh["views"]["stats"]["applied_seq"] >= goal:
                break
        lags.append(time.perf_counter() - began)
        await asyncio.sleep(max(0.0, 0.1 - (time.perf_counter() - began)))
    return {
        "HTTP push, µs a row": float(np.median(costs)) * 1e6,
        "rows/s pushed": 500 * len(lags) / seconds,
        "push to online, ms p50": float(np.percentile(lags, 50)) * 1e3,
        "push to online, ms p99": float(np.percentile(lags, 99)) * 1e3,
    }


def _feast(folder: Path, socket: str, rounds: int) -> list[Row]:
    python = environment_of(FEAST) / "python"
    script = ROOT / "bench" / "feature_peers" / "online_feast.py"
    port = _tcp_in_front_of(socket)
    command = [str(python), str(script), str(folder), port, str(ENTITIES), str(rounds)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"Feast failed: {done.stderr[-800:]}")
    found = json.loads(done.stdout.strip().splitlines()[-1])
    return [_row("Feast in process", int(count), times) for count, times in found.items()]


def _tcp_in_front_of(socket: str) -> str:
    """Feast's Redis store takes host:port only: let the same server listen on loopback too."""
    client = redis.Redis.from_url(f"unix://{socket}")
    import socket as sockets

    with sockets.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    client.config_set("bind", "127.0.0.1")
    client.config_set("port", port)
    return f"127.0.0.1:{port}"


def _row(who: str, count: int, seconds: Sequence[float]) -> Row:
    milliseconds = np.array(seconds) * 1e3
    return {
        "who": who,
        "entities": count,
        "p50 ms": float(np.percentile(milliseconds, 50)),
        "p99 ms": float(np.percentile(milliseconds, 99)),
        "look-ups/s": 1e3 / float(milliseconds.mean()),
    }
