"""The model of the serving benchmark, and how it gets into a running platform."""

from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.serving_features import ONLINE, REQUEST, speed
from contracts.manifest import (
    FileEntry,
    InputColumn,
    Manifest,
    Tensors,
    TrainingMetadata,
)
from leadline.client import Client
from shared_features import load_catalogue

MODEL = "speed"
COLUMNS = ONLINE + REQUEST
USERS = 1000
TREES = 100


def make_rows(rows: int, seed: int = 7) -> npt.NDArray[np.float32]:
    """Standard normal inputs of four decimals, shape [rows, 20]; ``written`` says them in JSON."""
    values = np.random.default_rng(seed).standard_normal((rows, COLUMNS))
    return np.round(values, 4).astype(np.float32)


def written(row: npt.NDArray[np.float32]) -> list[float]:
    """The numbers of a row as a client sends them, to us and to every peer: 0.4898. The double that
    a float32 becomes is 0.48980000615119934, three times as much to send and to read."""
    numbers: list[float] = np.round(row.astype(np.float64), 4).tolist()
    return numbers


def train(path: Path) -> None:
    """Write a 100-tree gradient-boosted classifier on 20 floats as ONNX."""
    from lightgbm import LGBMClassifier
    from onnxmltools import convert_lightgbm
    from onnxmltools.convert.common.data_types import FloatTensorType

    rows = make_rows(20_000, seed=1)
    truth = (rows[:, 0] + rows[:, 1] * rows[:, 12] + 0.5 * rows[:, 15] > 0.3).astype(int)
    model = LGBMClassifier(n_estimators=TREES, num_leaves=31, n_jobs=1, random_state=1, verbose=-1)
    model.fit(rows, truth)
    graph = convert_lightgbm(
        model, initial_types=[("input", FloatTensorType([None, COLUMNS]))], zipmap=False
    )
    path.write_bytes(graph.SerializeToString())


def publish(
    client: Client, model_file: Path, *, model: str = MODEL, rows_per_batch_max: int = 1000
) -> str:
    """Register the model with its ten online features and send all traffic to it."""
    content = model_file.read_bytes()
    service = load_catalogue(["bench.serving_features"]).compile(speed.name)
    inputs = [
        InputColumn(name=f"f{i}", dtype="float32", source=f"user_facts:f{i}") for i in range(ONLINE)
    ]
    inputs += [
        InputColumn(name=f"r{i}", dtype="float32", source=f"request:r{i}") for i in range(REQUEST)
    ]
    manifest = Manifest(
        model=model,
        task="classification",
        feature_service=speed.name,
        feature_service_json=dict(service.json),
        feature_fingerprint=service.fingerprint,
        entity_keys=("user",),
        request_fields={f"r{i}": "float32" for i in range(REQUEST)},
        inputs=tuple(inputs),
        unit_key=("user",),
        tensors=Tensors(layout="matrix", input="input", probability="probabilities"),
        rows_per_batch_max=rows_per_batch_max,
        files=(_entry("model.onnx", content),),
        training=TrainingMetadata(
            dataset_name="bench",
            dataset_version="1",
            dataset_digest=sha256(b"bench").hexdigest(),
            hyperparameters={"trees": TREES},
            metrics={"accuracy": 1.0},
            metrics_rows=1,
            trained_at="2013-12-01T00:00:00Z",
            git_commit="0" * 40,
        ),
    )
    parts = {
        "manifest": (None, manifest.model_dump_json(), "application/json"),
        "model.onnx": ("model.onnx", content, "application/octet-stream"),
    }
    published = client.send("POST", f"/v1/models/{model}/versions", files=parts).json()
    version = str(published["version"])
    change = {"to": "production", "reason": "benchmark"}
    found = client.send("GET", f"/v1/models/{model}/versions/{version}")
    client.send(
        "POST",
        f"/v1/models/{model}/versions/{version}/transitions",
        json=change,
        headers={"if-match": found.headers.get("etag", "*")},
    )
    return version


def push_users(client: Client, rows: npt.NDArray[np.float32]) -> None:
    """Give each of the users the first ten columns of its row as online features."""
    pushed: list[dict[str, Any]] = [
        {
            "user": f"u{index}",
            **{f"f{i}": value for i, value in enumerate(written(row[:ONLINE]))},
            "event_time": "2013-12-01T00:00:00Z",
        }
        for index, row in enumerate(rows)
    ]
    body = {"source": "user_facts", "rows": pushed}
    client.send("POST", "/v1/features/push", json=body, params={"wait": "applied"})


def instance(index: int, row: npt.NDArray[np.float32]) -> dict[str, Any]:
    """What a client of the platform sends: the key, and the fields that only it knows."""
    sent = enumerate(written(row[ONLINE:]))
    return {"user": f"u{index}", **{f"r{i}": value for i, value in sent}}


def _entry(path: str, content: bytes) -> FileEntry:
    return FileEntry(path=path, sha256=sha256(content).hexdigest(), size_bytes=len(content))
