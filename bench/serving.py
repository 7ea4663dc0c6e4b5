"""``/predict`` through the whole chain, beside other servers of the same model, in one run.

Ours: key checked, limit spent, ten features from Redis, ONNX Runtime, served event on disk. The
peers answer a bare request with all twenty floats in it. All take turns, round after round, with
the same load generator on the same cores; what counts is the ratio within a round.
"""

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from bench.load import Measured, closed_loop, cpu_s
from bench.peers.environments import PEERS_BY_NAME, body_of, running
from bench.record import record
from bench.serving_model import (
    MODEL,
    USERS,
    instance,
    make_rows,
    publish,
    push_users,
    train,
    written,
)
from leadline.client import Client
from leadline.state import SERVICES, StateDir

CONCURRENCIES = (1, 16, 64)
OURS = "leadline"
PROCESSES = ("redis", *SERVICES)


def main(*, quick: bool) -> None:
    """Measure and record."""
    rounds, seconds = (1, 1.0) if quick else (3, 3.0)
    rows = make_rows(USERS)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="leadline-bench")))
        train(folder / "model.onnx")
        state = stack.enter_context(our_platform(folder / "state"))
        fill(state, folder / "model.onnx")
        targets = {OURS: _ours(state, rows)}
        notes = []
        for name, peer in PEERS_BY_NAME.items():
            try:
                url, _ = stack.enter_context(running(peer, folder / "model.onnx", folder / name))
            except (RuntimeError, subprocess.CalledProcessError) as missing:
                notes.append(f"{name} could not be measured: {str(missing)[:200]}")
                continue
            bodies = [body_of(peer, [written(row)]) for row in rows]
            targets[name] = (url + peer.path, bodies, None)
        measured = _take_turns(targets, rounds, seconds)
        cpu = _cpu_per_request(state, targets[OURS], seconds)
    _report(measured, cpu, notes, quick=quick)


Target = tuple[str, Sequence[str], str | None]


@contextmanager
def our_platform(root: Path) -> Iterator[StateDir]:
    """A platform of its own, one process a service, with the benchmark's feature definitions."""
    leadline = [sys.executable, "-m", "leadline"]
    up = ["up", "--detach", "--features", "bench.serving_features", "--state", str(root)]
    subprocess.run([*leadline, *up], check=True)
    try:
        yield StateDir(root)
    finally:
        subprocess.run([*leadline, "down", "--state", str(root)], check=True)


def fill(state: StateDir, model_file: Path) -> None:
    """Push the users' features, publish the model, and wait until it answers."""
    with Client.from_state(state) as client:
        push_users(client, make_rows(USERS))
        publish(client, model_file)
        wait_until_served(client)


def wait_until_served(client: Client, model: str = MODEL) -> None:
    from leadline.client import ProblemError

    row = make_rows(1)[0]
    for _ in range(1000):
        try:
            client.predict(model, [instance(0, row)])
        except ProblemError as problem:
            if problem.code not in ("not-found", "model-unavailable"):
                raise
        else:
            return
    raise RuntimeError("the platform does not serve the benchmark's model")


def _ours(state: StateDir, rows: Any) -> Target:
    bodies = [
        json.dumps({"model": "speed", "instances": [instance(index, row)]})
        for index, row in enumerate(rows)
    ]
    key = state.read_credentials()["admin_key"]
    return state.read_endpoints()["gateway"] + "/predict", bodies, key


def _take_turns(
    targets: dict[str, Target], rounds: int, seconds: float
) -> dict[str, dict[int, list[Measured]]]:
    measured: dict[str, dict[int, list[Measured]]] = {
        name: {connections: [] for connections in CONCURRENCIES} for name in targets
    }
    for name, (url, bodies, key) in targets.items():  # warm up, uncounted
        closed_loop(url, bodies, connections=16, seconds=1, key=key)
        print(f"  {name} is warm", flush=True)
    for turn in range(rounds):
        for connections in CONCURRENCIES:
            for name, (url, bodies, key) in targets.items():
                found = closed_loop(url, bodies, connections=connections, seconds=seconds, key=key)
                measured[name][connections].append(found)
        print(f"  round {turn + 1} of {rounds}", flush=True)
    return measured


def _cpu_per_request(state: StateDir, target: Target, seconds: float) -> dict[str, float]:
    pids = {name: int((state.run_dir / f"{name}.pid").read_text()) for name in PROCESSES}
    before = {name: cpu_s(pid) for name, pid in pids.items()}
    url, bodies, key = target
    found = closed_loop(url, bodies, connections=64, seconds=max(seconds, 2), key=key)
    return {
        name: (cpu_s(pid) - before[name]) / max(found.requests, 1) * 1e6
        for name, pid in pids.items()
    }


def _report(
    measured: dict[str, dict[int, list[Measured]]],
    cpu: dict[str, float],
    notes: Sequence[str],
    *,
    quick: bool,
) -> None:
    rows = [
        {
            "server": name,
            "concurrency": connections,
            "requests_per_s": round(_median(runs, "requests_per_s")),
            "p50_ms": _median(runs, "p50_ms"),
            "p99_ms": _median(runs, "p99_ms"),
            "errors": sum(run.errors for run in runs),
            "ours_over_it": _ratio(measured[OURS][connections], runs),
        }
        for name, by_connections in measured.items()
        for connections, runs in by_connections.items()
    ]
    cpu_rows = [{"process": name, "cpu_us_per_request": value} for name, value in cpu.items()]
    record(
        "serving",
        quick=quick,
        figures={f"{row['server']}@{row['concurrency']}": row for row in rows} | {"cpu_us": cpu},
        tables={"closed loop, one row a request": rows, "CPU by process at 64": cpu_rows},
        notes=[
            "ours: the whole chain; peers: a bare request with all twenty floats in its body",
            "ours_over_it: median over rounds of the ratio of requests/s within the round",
            *notes,
        ],
    )


def _median(runs: Sequence[Measured], name: str) -> float:
    return float(statistics.median(getattr(run, name) for run in runs))


def _ratio(ours: Sequence[Measured], theirs: Sequence[Measured]) -> float:
    pairs = zip(ours, theirs, strict=True)
    return statistics.median(
        mine.requests_per_s / max(other.requests_per_s, 1e-9) for mine, other in pairs
    )
