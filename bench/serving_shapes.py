"""The whole chain under other shapes of load: batches of 100, and almost none.

- Batches: rows a second of 100-row requests, beside ONNX Runtime alone in a process (batch 128, one
  thread) on the same rows. As tensors (``/v2``, binary: 20 floats a row, as ONNX Runtime gets them)
  and as instances (``/predict``, JSON: ten fields a row, ten features looked up for it).
- Idle: the median at one caller with batches allowed and forbidden; batching should cost nothing.
"""

import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from bench.load import Measured, closed_loop
from bench.record import record
from bench.serving import fill, our_platform, wait_until_served
from bench.serving_model import MODEL, USERS, instance, make_rows, publish, train
from leadline.client import Client
from leadline.state import StateDir

ROWS = 100
BATCH_CALLERS = 64
LONE = "speed_alone"
"""The same model, its batches limited to one row."""


def main(*, quick: bool) -> None:
    """Measure and record."""
    rounds, seconds = (1, 1.0) if quick else (5, 4.0)
    rows = make_rows(USERS)
    with tempfile.TemporaryDirectory(prefix="leadline-bench") as name:
        folder = Path(name)
        train(folder / "model.onnx")
        with our_platform(folder / "state") as state:
            fill(state, folder / "model.onnx")
            _publish_alone(state, folder / "model.onnx")
            target = target_of(state)
            bodies = [batch_body(MODEL, rows, start) for start in range(0, USERS - ROWS, ROWS)]
            singles = {model: single_bodies(model, rows) for model in (MODEL, LONE)}
            tensors, batches, alone, idle = [], [], [], []
            for _ in range(rounds):
                tensors.append(_tensor_batches(target, rows, seconds))
                batches.append(_batches(target, bodies, seconds))
                alone.append(runtime_rows_per_s(folder / "model.onnx", seconds / 2))
                idle.append({m: _idle_ms(target, singles[m], seconds) for m in (MODEL, LONE)})
    _report(tensors, batches, alone, idle, quick=quick)


def runtime_rows_per_s(model_file: Path, seconds: float) -> float:
    """Rows a second of ONNX Runtime in this process: batches of 128, one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        str(model_file), options, providers=["CPUExecutionProvider"]
    )
    rows = np.ascontiguousarray(make_rows(128))
    session.run(["probabilities"], {"input": rows})
    began_s, batches = time.perf_counter(), 0
    while time.perf_counter() - began_s < seconds:
        session.run(["probabilities"], {"input": rows})
        batches += 1
    return batches * 128 / (time.perf_counter() - began_s)


def _publish_alone(state: StateDir, model_file: Path) -> None:
    with Client.from_state(state) as client:
        publish(client, model_file, model=LONE, rows_per_batch_max=1)
        wait_until_served(client, LONE)


def target_of(state: StateDir) -> tuple[str, str]:
    """Where predictions are asked, and with which key."""
    url = state.read_endpoints()["gateway"] + "/predict"
    return url, state.read_credentials()["admin_key"]


def batch_body(model: str, rows: Any, start: int) -> str:
    """A request of ``ROWS`` rows."""
    asked = [instance(start + i, rows[start + i]) for i in range(ROWS)]
    return json.dumps({"model": model, "instances": asked})


def single_bodies(model: str, rows: Any) -> list[str]:
    """A request for each row."""
    return [
        json.dumps({"model": model, "instances": [instance(index, row)]})
        for index, row in enumerate(rows)
    ]


def _batches(target: tuple[str, str], bodies: Sequence[str], seconds: float) -> Measured:
    url, key = target
    return closed_loop(url, bodies, connections=BATCH_CALLERS, seconds=seconds, key=key)


def _tensor_batches(target: tuple[str, str], rows: Any, seconds: float) -> Measured:
    """The same rows to the same model by the Open Inference Protocol, in its binary form."""
    url, key = target
    head = json.dumps(
        {
            "inputs": [
                {
                    "name": "input",
                    "datatype": "FP32",
                    "shape": [ROWS, rows.shape[1]],
                    "parameters": {"binary_data_size": ROWS * rows.shape[1] * 4},
                }
            ],
            "outputs": [{"name": "probabilities", "parameters": {"binary_data": True}}],
        }
    ).encode()
    return closed_loop(
        url.replace("/predict", f"/v2/models/{MODEL}/infer"),
        [head + rows[start : start + ROWS].tobytes() for start in range(0, USERS - ROWS, ROWS)],
        connections=BATCH_CALLERS,
        seconds=seconds,
        key=key,
        headers={
            "Inference-Header-Content-Length": str(len(head)),
            "Content-Type": "application/octet-stream",
        },
    )


def _idle_ms(target: tuple[str, str], bodies: Sequence[str], seconds: float) -> float:
    url, key = target
    return closed_loop(url, bodies, connections=1, seconds=seconds, key=key).p50_ms


def _report(
    tensors: Sequence[Measured],
    batches: Sequence[Measured],
    alone: Sequence[float],
    idle: Sequence[dict[str, float]],
    *,
    quick: bool,
) -> None:
    ours = [run.requests_per_s * ROWS for run in batches]
    shares = [mine / bare for mine, bare in zip(ours, alone, strict=True)]
    bare_rows = [run.requests_per_s * ROWS for run in tensors]
    bare_shares = [mine / bare for mine, bare in zip(bare_rows, alone, strict=True)]
    extra = statistics.median(run[MODEL] - run[LONE] for run in idle)
    figures = {
        "tensor_rows_per_s": statistics.median(bare_rows),
        "tensor_share_of_runtime": statistics.median(bare_shares),
        "rows_per_s": statistics.median(ours),
        "runtime_rows_per_s": statistics.median(alone),
        "share_of_runtime": statistics.median(shares),
        "idle_p50_ms": statistics.median(run[MODEL] for run in idle),
        "idle_batching_costs_ms": extra,
        "errors": sum(run.errors for run in (*tensors, *batches)),
    }
    table = [{"figure": name, "value": value} for name, value in figures.items()]
    record(
        "serving_shapes",
        quick=quick,
        figures=figures,
        tables={f"{ROWS}-row requests, idle": table},
        notes=[
            f"batches: {BATCH_CALLERS} callers of {ROWS} rows, the whole chain; medians of rounds",
            "tensor: the rows in binary over /v2; else JSON, and ten features looked up a row",
            "share_of_runtime: against ONNX Runtime alone, batch 128, one thread, same model",
        ],
    )
