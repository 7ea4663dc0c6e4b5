"""Inference alone, over its frames: what one prediction costs in CPU, beside a bare echo of frames.

A platform runs with ten online features in Redis and a 100-tree model; a closed-loop generator
speaks the frame protocol to the replica directly, as the gateway does. The echo answers the same
frames with a constant: the floor of the protocol and of the generator. What counts is the ratio.
"""

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import orjson
import uvloop

from bench.load import cpu_s
from bench.record import record
from bench.serving import fill, our_platform
from bench.serving_model import COLUMNS, USERS, instance, make_rows, train
from contracts.frames import Ask, FrameKind, FrameReader, pack_ask, unpack_answer

CONCURRENCIES = (1, 16, 64)
ROWS = 100
_OK = 200


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the generator."""

    requests: int
    requests_per_s: float
    p50_ms: float
    p99_ms: float
    errors: int


class Generator(asyncio.Protocol):
    """Keeps a number of asks under way on one connection."""

    def __init__(self, bodies: Sequence[bytes], concurrency: int, seconds: float) -> None:
        self._bodies = bodies
        self._concurrency = concurrency
        self._seconds = seconds
        self._reader = FrameReader()
        self._sent: dict[int, int] = {}
        self._next = 0
        self._transport: asyncio.Transport | None = None
        self.latencies_ns: list[int] = []
        self.errors = 0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._until_ns = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._until_ns = time.monotonic_ns() + int(self._seconds * 1e9)
        self._transport.write(b"".join([self._ask() for _ in range(self._concurrency)]))

    def _ask(self) -> bytes:
        self._next += 1
        body = self._bodies[self._next % len(self._bodies)]
        ask = Ask(5_000, self._next.to_bytes(16, "big"), "speed", "bench", "", b"", body)
        self._sent[self._next] = time.monotonic_ns()
        return pack_ask(FrameKind.PREDICT, self._next, ask)

    def data_received(self, data: bytes) -> None:
        out: list[bytes] = []
        for kind, frame_id, payload in self._reader.feed(data):
            if kind != FrameKind.ANSWER:
                continue
            now_ns = time.monotonic_ns()
            self.latencies_ns.append(now_ns - self._sent.pop(frame_id))
            self.errors += unpack_answer(payload).status != _OK
            if now_ns < self._until_ns:
                out.append(self._ask())
        if out and self._transport is not None:
            self._transport.write(b"".join(out))
        if not self._sent and not self.done.done():
            self.done.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(error or ConnectionError("the replica hung up"))


async def generate(path: str, bodies: Sequence[bytes], concurrency: int, seconds: float) -> Run:
    """Run the closed loop against a frames listener."""
    loop = asyncio.get_running_loop()
    began = time.perf_counter()
    transport, generator = await loop.create_unix_connection(
        lambda: Generator(bodies, concurrency, seconds), path
    )
    await generator.done
    took = time.perf_counter() - began
    transport.close()
    await asyncio.sleep(0)
    latencies = np.array(generator.latencies_ns) / 1e6
    return Run(
        requests=len(latencies),
        requests_per_s=len(latencies) / took,
        p50_ms=float(np.percentile(latencies, 50)),
        p99_ms=float(np.percentile(latencies, 99)),
        errors=generator.errors,
    )


def main(*, quick: bool) -> None:
    """Measure and record."""
    seconds, rounds = (1.0, 1) if quick else (4.0, 5)
    rows = make_rows(USERS)
    single = [orjson.dumps(_body(rows, [index])) for index in range(USERS)]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="leadline-bench")))
        train(folder / "model.onnx")
        state = stack.enter_context(our_platform(folder / "state"))
        fill(state, folder / "model.onnx")
        echo_path = f"{folder}/echo.sock"
        echo = subprocess.Popen([sys.executable, "-m", "bench.peers.frames_echo", echo_path])
        stack.callback(echo.wait)
        stack.callback(echo.terminate)
        _wait_for(Path(echo_path))
        pids = {
            name: int((state.run_dir / f"{name}.pid").read_text())
            for name in ("inference", "redis")
        }
        paths = {
            "inference": (f"{state.socket_dir}/inference.frames", pids),
            "echo": (echo_path, {"inference": echo.pid}),
        }
        table = []
        for turn in range(rounds + 1):  # the first warms up
            for connections in CONCURRENCIES:
                for name, (path, measured) in paths.items():
                    row = _measured(name, path, measured, single, connections, seconds)
                    if turn:
                        table.append({"round": turn, **row})
        many = [orjson.dumps(_body(rows, range(at, at + ROWS))) for at in range(0, USERS, ROWS)]
        found = uvloop.run(generate(paths["inference"][0], many, 4, seconds))
        bare = _bare_rows_per_s(folder / "model.onnx", seconds)
    batch = {
        "rows_per_request": ROWS,
        "rows_per_s": found.requests_per_s * ROWS,
        "onnxruntime_rows_per_s": bare,
        "share": found.requests_per_s * ROWS / bare,
    }
    summary = _summary(table)
    record(
        "inference_frames",
        quick=quick,
        figures={"by_concurrency": summary, "batch": batch},
        tables={"medians over rounds": summary, "requests of 100 rows": [batch]},
        notes=["cpu: of the replica's whole process, shipper and threads included"],
    )


def _body(rows: Any, indices: Sequence[int] | range) -> dict[str, Any]:
    return {"model": "speed", "instances": [instance(index, rows[index]) for index in indices]}


def _wait_for(path: Path) -> None:
    until = time.monotonic() + 20
    while not path.exists():
        if time.monotonic() > until:
            raise TimeoutError(f"{path} did not appear")
        time.sleep(0.02)


def _measured(
    name: str,
    path: str,
    pids: dict[str, int],
    bodies: Sequence[bytes],
    connections: int,
    seconds: float,
) -> dict[str, Any]:
    before = {process: cpu_s(pid) for process, pid in pids.items()}
    found = uvloop.run(generate(path, bodies, connections, seconds))
    cpu = {
        f"{process}_cpu_us": (cpu_s(pid) - before[process]) / found.requests * 1e6
        for process, pid in pids.items()
    }
    return {
        "server": name,
        "concurrency": connections,
        "requests_per_s": found.requests_per_s,
        "p50_ms": found.p50_ms,
        "p99_ms": found.p99_ms,
        "errors": found.errors,
        "inference_cpu_us": cpu["inference_cpu_us"],
        "redis_cpu_us": cpu.get("redis_cpu_us", 0.0),
    }


def _summary(table: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    rows = []
    for connections in CONCURRENCIES:
        for name in ("inference", "echo"):
            own = [
                row for row in table if row["server"] == name and row["concurrency"] == connections
            ]
            keys = [key for key in own[0] if key not in ("round", "server", "concurrency")]
            medians = {key: float(np.median([row[key] for row in own])) for key in keys}
            rows.append({"server": name, "concurrency": connections, **medians})
    return rows


def _bare_rows_per_s(model_file: Path, seconds: float) -> float:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model_file.read_bytes(), options, providers=["CPUExecutionProvider"]
    )
    batch = make_rows(128)
    assert batch.shape == (128, COLUMNS)
    runs, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        session.run(None, {"input": batch})
        runs += 1
    return runs * len(batch) / (time.perf_counter() - began)
