"""A bad version under load on a whole platform: how fast it is gone, and what the others notice.

The canary answers no numbers, or answers late. What counts: the time from the controller's verdict
(its audit entry) to the last answer of the canary, and the errors and p99 of everybody else before,
during and after.
"""

import asyncio
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
from onnx import TensorProto, helper

from bench.record import record
from bench.serving import our_platform
from contracts.manifest import InputColumn, Manifest, Tensors, TrainingMetadata
from leadline.client import Client, ProblemError
from leadline.demo.broken import slowed
from leadline.publish.bundle import Bundle, entries
from leadline.state import StateDir

MODEL = "live"
WEIGHT = 0.2
CONNECTIONS = 8
SLO_MS = 25.0
SLOW_TURNS = 15_000


@dataclass(frozen=True, slots=True)
class Seen:
    """One answer as a client saw it."""

    sent_us: int
    done_us: int
    version: str
    """Empty where the answer was a problem."""


def main(*, quick: bool) -> None:
    """Roll out two bad versions under load, print and keep what happened."""
    rows = []
    with (
        tempfile.TemporaryDirectory(prefix="leadline-bench") as folder,
        our_platform(Path(folder) / "state") as state,
        Client.from_state(state) as client,
    ):
        _promote(client, str(bundle(_graph("Identity")).send(client)["version"]))
        bad = {
            "no numbers": bundle(_graph("Log")),  # of a negative number
            "late answers": slowed(bundle(_graph("Neg")), SLOW_TURNS),
        }
        for name, version in bad.items():
            number = str(version.send(client)["version"])
            rows.append(_row(name, *asyncio.run(_roll_out(state, number, quick))))
    record(
        "rollout_live",
        quick=quick,
        figures={"weight": WEIGHT, "connections": CONNECTIONS},
        tables={"A bad canary at 20 %": rows},
        notes=(
            "The verdict's time is that of its audit entry; answers are timed at the client.",
            "A replica that routes by the old table for a moment still answers from the canary.",
        ),
    )
    assert all(row["verdict to last canary answer s"] < 1.0 for row in rows), rows


def bundle(graph: bytes) -> Bundle:
    """A model of one request field, sticky by user."""
    files = {"model.onnx": graph}
    manifest = Manifest(
        model=MODEL,
        task="regression",
        entity_keys=("user",),
        request_fields={"x": "float32"},
        inputs=(InputColumn(name="x", dtype="float32", source="request:x"),),
        unit_key=("user",),
        tensors=Tensors(layout="matrix", input="input", value="value"),
        files=entries(files),
        training=TrainingMetadata(
            dataset_name="bench",
            dataset_version="1",
            dataset_digest=sha256(b"bench").hexdigest(),
            hyperparameters={},
            metrics={"mae": 0.0},
            metrics_rows=1,
            trained_at="2013-12-01T00:00:00Z",
            git_commit="0" * 40,
        ),
    )
    return Bundle(manifest, files)


def _graph(operator: str) -> bytes:
    """value = operator(x − 10)."""
    graph = helper.make_graph(
        [
            helper.make_node("Sub", ["input", "ten"], ["less"]),
            helper.make_node(operator, ["less"], ["value"]),
        ],
        "live",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [None, 1])],
        [helper.make_tensor_value_info("value", TensorProto.FLOAT, [None, 1])],
        [helper.make_tensor("ten", TensorProto.FLOAT, [1], [10.0])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


async def _roll_out(
    state: StateDir, version: str, quick: bool
) -> tuple[Sequence[Seen], int, int, str]:
    """Load before, during and after; returns what was seen, start and verdict (wall), sentence."""
    calm_s, limit_s = (2.0, 60.0) if quick else (10.0, 120.0)
    seen: list[Seen] = []
    url, key = state.read_endpoints()["gateway"], state.read_credentials()["admin_key"]
    async with httpx.AsyncClient(
        base_url=url, headers={"authorization": f"Bearer {key}"}, trust_env=False, timeout=30.0
    ) as client:
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for at in range(CONNECTIONS):
                group.create_task(_ask(client, at, seen, stop))
            await asyncio.sleep(calm_s)
            started_us = time.time_ns() // 1000
            ended = await _until_taken_back(client, version, limit_s)
            await asyncio.sleep(calm_s)
            stop.set()
        audit = (await client.get("/v1/audit", params={"model": MODEL, "limit": 1000})).json()
        entry = next(
            one
            for one in reversed(audit["entries"])
            if one["action"] == "rollout.roll_back" and one["subject"] == ended["id"]
        )
    return seen, started_us, int(entry["wall_us"]), str(entry["reason"])


async def _until_taken_back(
    client: httpx.AsyncClient, version: str, limit_s: float
) -> dict[str, Any]:
    guard = {"name": "latency", "kind": "latency", "margin": 0.25, "slo_ms": SLO_MS}
    steps = [{"weight": weight, "bake_s": 3600} for weight in (WEIGHT, 1.0)]
    answer = await client.post(
        "/v1/rollouts",
        json={
            "model": MODEL,
            "version": version,
            "preset": "fast",
            "plan": {"steps": steps, "guards": [guard], "block_s": 1},
            "reason": "the benchmark wants to see it fail",
        },
    )
    answer.raise_for_status()
    rollout: dict[str, Any] = answer.json()
    deadline = time.monotonic() + limit_s
    while rollout["status"] in ("warming", "running"):
        assert time.monotonic() < deadline, f"not taken back: {rollout['verdict']}"
        await asyncio.sleep(0.2)
        rollout = (await client.get(f"/v1/rollouts/{rollout['id']}")).json()
    return rollout


async def _ask(client: httpx.AsyncClient, at: int, seen: list[Seen], stop: asyncio.Event) -> None:
    random = np.random.default_rng(at)
    while not stop.is_set():
        user = f"u{random.integers(0, 10_000)}"
        body = {"model": MODEL, "instances": [{"user": user, "x": float(random.random())}]}
        sent_us = time.time_ns() // 1000
        answer = await client.post("/predict", json=body)
        done_us = time.time_ns() // 1000
        version = str(answer.json()["version"]) if answer.is_success else ""
        seen.append(Seen(sent_us, done_us, version))
        await asyncio.sleep(0.02)


def _row(
    name: str, seen: Sequence[Seen], started_us: int, verdict_us: int, sentence: str
) -> dict[str, Any]:
    """Everybody's figures; a failed answer counts as the canary's while there is one."""
    stable = [one for one in seen if one.version == "1"]
    canary = [one for one in seen if one.version != "1"]
    last_us = max((one.done_us for one in canary), default=verdict_us)
    first_us = min((one.done_us for one in canary), default=started_us)
    before = [one for one in stable if one.done_us < started_us]
    during = [one for one in stable if first_us <= one.done_us <= last_us]
    after = [one for one in seen if one.sent_us > last_us]
    return {
        "the canary gives": name,
        "canary answers": len(canary),
        "first canary answer to verdict s": round((verdict_us - first_us) / 1e6, 2),
        "verdict to last canary answer s": round(max(0, last_us - verdict_us) / 1e6, 3),
        "others p99 before, during, after ms": " / ".join(
            f"{_p99(part):.1f}" for part in (before, during, after)
        ),
        "failed after": sum(one.version == "" for one in after),
        "verdict": sentence,
    }


def _p99(seen: Sequence[Seen]) -> float:
    if not seen:
        return float("nan")
    return float(np.percentile([(one.done_us - one.sent_us) / 1000 for one in seen], 99))


def _promote(client: Client, version: str) -> None:
    path = f"/v1/models/{MODEL}/versions/{version}"
    match = {"if-match": client.send("GET", path).headers["etag"]}
    client.post(f"{path}/transitions", {"to": "production", "reason": "benchmark"}, headers=match)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            client.predict(MODEL, [{"user": "u", "x": 1.0}])
        except ProblemError as problem:
            if problem.code not in ("not-found", "model-unavailable"):
                raise
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(f"the platform does not serve: {json.dumps(client.get('/v1/replicas'))}")
