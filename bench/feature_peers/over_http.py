"""Look-ups of ten features over HTTP: this service and ``feast serve``, one process each.

Both are asked by the same light load generator over keep-alive connections on loopback; both
answers are looked at before anything is timed.
"""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from bench.feature_peers.data import FEATURES
from bench.feature_peers.definitions import REFS
from bench.load import closed_loop, cpu_s
from contracts.identity import SERVICE_TOKEN_HEADER

ROOT = Path(__file__).parents[2]
CONNECTIONS = (1, 8)
BODIES = 500
START_S_MAX = 60.0
TOKEN = "b" * 32
OURS, FEAST = "Leadline over HTTP", "feast serve"
Row = dict[str, Any]


def ours(folder: Path, redis: str, users: Sequence[int], seconds: float) -> list[Row]:
    """``python -m feature_store`` over the state in ``folder`` and the Redis at its socket."""
    port = _free_port()
    environment = {
        "LEADLINE_STATE_DIR": str(folder),
        "LEADLINE_REDIS_URL": f"unix://{redis}",
        "LEADLINE_SERVICE_TOKEN": TOKEN,
        "LEADLINE_FEATURE_MODULES": "bench.feature_peers.definitions",
        "LEADLINE_PORT": str(port),
        "LEADLINE_READ_TIMEOUT_MS": "1000",
    }
    command = [sys.executable, "-m", "feature_store"]
    headers = {SERVICE_TOKEN_HEADER: TOKEN}
    ready = f"http://127.0.0.1:{port}/readyz"
    with _running(command, environment, folder / "ours.log", ready) as pid:
        url = f"http://127.0.0.1:{port}/v1/features/online"
        bodies = [{"entity_rows": [{"user": one}], "feature_refs": REFS} for one in users]
        answer = httpx.post(url, json=bodies[0], headers=headers, trust_env=False).json()
        row = answer["rows"][0]
        assert all(row[f"{ref}__status"] == "PRESENT" for ref in REFS), answer
        return _rows(OURS, pid, url, bodies, seconds, headers)


def feast(
    python: Path, folder: Path, redis: str, users: Sequence[int], seconds: float
) -> list[Row]:
    """``feast serve`` over the repository in ``folder``, materialized into ``redis`` before."""
    port = _free_port()
    script = ROOT / "bench" / "feature_peers" / "serve_feast.py"
    command = [str(python), str(script), str(folder), redis, str(port)]
    base = f"http://127.0.0.1:{port}"
    with _running(command, {}, folder / "feast.log", f"{base}/health") as pid:
        url = f"{base}/get-online-features"
        bodies = [{"features": REFS, "entities": {"user": [one]}} for one in users]
        answer = httpx.post(url, json=bodies[0], trust_env=False).json()
        found = dict(zip(answer["metadata"]["feature_names"], answer["results"], strict=True))
        assert all(found[name]["statuses"] == ["PRESENT"] for name in FEATURES), answer
        return _rows(FEAST, pid, url, bodies, seconds, {})


def compared(rows: Sequence[Row]) -> dict[str, float]:
    """Rates of ours over those of ``feast serve``, by the number of connections."""
    rate = {(row["who"], row["connections"]): row["look-ups/s"] for row in rows}
    return {
        f"http_rate_over_feast_serve_{count}": rate[OURS, count] / rate[FEAST, count]
        for count in CONNECTIONS
    }


def _rows(
    who: str,
    pid: int,
    url: str,
    bodies: Sequence[Mapping[str, Any]],
    seconds: float,
    headers: Mapping[str, str],
) -> list[Row]:
    lines = [json.dumps(body) for body in bodies[:BODIES]]
    closed_loop(url, lines, connections=1, seconds=1, headers=headers)
    rows = []
    for count in CONNECTIONS:
        before_s = _cpu_s(pid)
        found = closed_loop(url, lines, connections=count, seconds=seconds, headers=headers)
        if found.errors:
            raise RuntimeError(f"{who}: {found.errors} of {found.requests} requests failed")
        rows.append(
            {
                "who": who,
                "connections": count,
                "p50 ms": found.p50_ms,
                "p99 ms": found.p99_ms,
                "look-ups/s": found.requests_per_s,
                "CPU µs a look-up": (_cpu_s(pid) - before_s) / found.requests * 1e6,
            }
        )
    return rows


def _cpu_s(pid: int) -> float:
    """Seconds of CPU of a server and its workers."""
    workers = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return cpu_s(pid) + sum(cpu_s(int(worker)) for worker in workers)


@contextmanager
def _running(
    command: Sequence[str], environment: Mapping[str, str], log: Path, ready: str
) -> Iterator[int]:
    around = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    with log.open("wb") as out:
        process = subprocess.Popen(command, cwd=log.parent, env=around, stdout=out, stderr=out)
        try:
            _wait(process, ready, log)
            yield process.pid
        finally:
            process.terminate()
            process.wait(30)


def _wait(process: subprocess.Popen[bytes], ready: str, log: Path) -> None:
    deadline = time.monotonic() + START_S_MAX
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(ready, trust_env=False, timeout=1).is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise RuntimeError(f"a server did not start: {log.read_text()[-800:]}")


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
