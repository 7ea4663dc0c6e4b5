"""What exporting is sold on, measured here: ONNX Runtime against PyTorch, int8, batching.

One thread each, the same rows, alternating, median of the rounds. PyTorch runs eagerly in
inference mode, as a server that keeps the module would. Needs the extra ``frameworks``.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.record import record
from contracts.manifest import InputColumn, TrainingMetadata
from leadline.publish.bundle import Bundle
from leadline.publish.graph import Runner
from leadline.publish.publication import Publication, build
from leadline.publish.quantize import Int8Report
from leadline.publish.rows import Rows, take

COLUMNS = 20
BATCHES = (1, 32, 128)
INPUTS = tuple(
    InputColumn(name=f"x{i}", dtype="float32", source=f"request:x{i}") for i in range(COLUMNS)
)
_TRAINING = TrainingMetadata(
    dataset_name="synthetic",
    dataset_version="1",
    dataset_digest="0" * 64,
    hyperparameters={},
    metrics={"auc": 0.9},
    metrics_rows=5000,
    trained_at="2013-12-01T00:00:00Z",
    git_commit="0" * 40,
)


@dataclass(frozen=True, slots=True)
class Data:
    """Rows and labels of a made-up task that is not linear."""

    rows: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]

    def columns(self, part: slice) -> Rows:
        """The rows of a part by input name."""
        return {column.name: self.rows[part, i] for i, column in enumerate(INPUTS)}


FIT, HELD = slice(0, 20_000), slice(20_000, None)


def make_data(seed: int = 7) -> Data:
    """25,000 standard normal rows; the label follows sums and products of some columns."""
    random = np.random.default_rng(seed)
    rows = random.standard_normal((25_000, COLUMNS)).astype(np.float32)
    logit = 1.5 * rows[:, 0] + rows[:, 1] * rows[:, 2] + np.sin(2 * rows[:, 3]) + rows[:, 4]
    labels = (random.random(len(rows)) < 1 / (1 + np.exp(-2 * logit))).astype(np.int64)
    return Data(rows, labels)


def network(data: Data, width: int, epochs: int) -> Any:
    """A fitted perceptron of two hidden layers, probability out."""
    import torch

    torch.manual_seed(1)
    torch.set_num_threads(1)
    layers = torch.nn
    model = layers.Sequential(
        layers.Linear(COLUMNS, width),
        layers.ReLU(),
        layers.Linear(width, width),
        layers.ReLU(),
        layers.Linear(width, 1),
        layers.Sigmoid(),
    )
    x, y = torch.from_numpy(data.rows[FIT]), torch.from_numpy(data.labels[FIT]).float()[:, None]
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, weight_decay=1e-4)
    loss = layers.BCELoss()
    for _ in range(epochs):
        for start in range(0, len(x), 256):
            optimizer.zero_grad()
            loss(model(x[start : start + 256]), y[start : start + 256]).backward()
            optimizer.step()
    return model.eval()


def trees(data: Data) -> Any:
    """A fitted classifier of 100 boosted trees."""
    from lightgbm import LGBMClassifier

    model = LGBMClassifier(n_estimators=100, num_leaves=31, n_jobs=1, verbose=-1)
    return model.fit(data.rows[FIT], data.labels[FIT])


def published(model: Any, data: Data, **further: Any) -> Bundle:
    """The model as it would be published: converted and proven equal."""
    return build(
        Publication(
            name="claims",
            model=model,
            inputs=INPUTS,
            sample=data.columns(FIT),
            validation=data.columns(HELD),
            labels=data.labels[HELD],
            training=_TRAINING,
            **further,
        )
    )


def us_per_row(run: Callable[[int], object], batch: int, seconds: float) -> float:
    """Microseconds a row over about ``seconds``, after a few calls to warm up."""
    for _ in range(3):
        run(batch)
    began, calls = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        run(batch)
        calls += 1
    return (time.perf_counter() - began) * 1e6 / calls / batch


def alternate(
    runs: Mapping[str, Callable[[int], object]], batch: int, rounds: int, seconds: float
) -> dict[str, float]:
    """The median over rounds in which each is measured after the other."""
    found: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            found[name].append(us_per_row(run, batch, seconds))
    return {name: median(values) for name, values in found.items()}


def onnx_run(bundle: Bundle, data: Data) -> Callable[[int], object]:
    """Runs the published graph on the first rows."""
    runner = Runner(bundle.files["model.onnx"], INPUTS, bundle.manifest.tensors.layout)
    rows = data.columns(HELD)
    feeds = {batch: runner.feeds(take(rows, slice(0, batch))) for batch in BATCHES}
    return lambda batch: runner.run(feeds[batch])


def torch_run(model: Any, data: Data) -> Callable[[int], object]:
    """Runs the module on the same rows."""
    import torch

    feeds = {batch: torch.from_numpy(data.rows[HELD][:batch]) for batch in BATCHES}

    def run(batch: int) -> object:
        with torch.inference_mode():
            return model(feeds[batch]).numpy()

    return run


def main(*, quick: bool) -> None:
    """Measure and record."""
    rounds, seconds, epochs = (2, 0.05, 1) if quick else (9, 0.5, 8)
    data = make_data()
    versus = []
    for width in (64, 256):
        model = network(data, width, epochs)
        runs = {"onnx": onnx_run(published(model, data), data), "torch": torch_run(model, data)}
        for batch in BATCHES:
            us = alternate(runs, batch, rounds, seconds)
            versus.append(
                {
                    "network": f"{COLUMNS}-{width}-{width}-1",
                    "batch": batch,
                    "PyTorch µs/row": us["torch"],
                    "ONNX Runtime µs/row": us["onnx"],
                    "times as fast": us["torch"] / us["onnx"],
                }
            )
    record(
        "export_claims",
        quick=quick,
        figures={"onnx_vs_torch": versus},
        tables={
            "ONNX Runtime against PyTorch, CPU, one thread": versus,
            "int8 (static QDQ) against float32": int8_table(data, epochs),
            "Batching": batching_table(data, epochs, rounds, seconds),
        },
        notes=[
            "Rows are independent; every export passed the parity check of `leadline publish`.",
            "int8: AUC on 5,000 held-back rows; a row's score is the same in any batch.",
        ],
    )


def int8_table(data: Data, epochs: int) -> list[dict[str, Any]]:
    """Size, quality and speed of int8 for networks of growing width, and for trees."""
    table = []
    models = {f"{COLUMNS}-{w}-{w}-1": network(data, w, epochs) for w in (64, 256, 1024)}
    for name, model in {**models, "100 trees": trees(data)}.items():
        files = published(model, data, report_int8=True).files
        said = Int8Report.model_validate_json(files["int8.json"])
        blank = "not applicable"
        table.append(
            {
                "model": name,
                "float32 KiB": said.bytes_float32 / 1024 if said.applicable else blank,
                "int8 KiB": said.bytes_int8 / 1024 if said.applicable else blank,
                "times smaller": said.bytes_float32 / said.bytes_int8 if said.applicable else blank,
                "AUC float32": said.metric_float32 or blank,
                "AUC lost": blank if said.metric_loss is None else said.metric_loss,
                "decisions flipped": blank if said.decision_flips is None else said.decision_flips,
                "speed-up, batch 1": said.speed_up.get("1", blank),
                "speed-up, batch 32": said.speed_up.get("32", blank),
                "batch invariant": said.batch_invariant if said.applicable else blank,
            }
        )
    return table


def batching_table(data: Data, epochs: int, rounds: int, seconds: float) -> list[dict[str, Any]]:
    """Rows a second by batch size, one thread of ONNX Runtime."""
    runs = {
        "100 trees": onnx_run(published(trees(data), data), data),
        f"{COLUMNS}-256-256-1": onnx_run(published(network(data, 256, epochs), data), data),
    }
    found = {batch: alternate(runs, batch, rounds, seconds) for batch in BATCHES}
    return [
        {
            "model": name,
            **{f"batch {batch}, rows/s": round(1e6 / found[batch][name]) for batch in BATCHES},
            "32 against 1": found[1][name] / found[32][name],
        }
        for name in runs
    ]
