"""int8 by static quantization (QDQ), and what it really brings and costs.

Static, because dynamic quantization takes its scale from the whole batch: a row's score would then
depend on the rows it happens to be computed with.
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_static,
)
from pydantic import BaseModel, ConfigDict

from contracts.manifest import InputColumn
from leadline.publish.graph import Runner
from leadline.publish.original import Original, PublishError
from leadline.publish.rows import Floats, Rows, Scores, length, take

CALIBRATION_ROWS = 1_000
_CALIBRATION_BATCH = 100
_QUANTIZED_OPERATORS = frozenset({"MatMul", "Gemm", "Conv"})
SPEED_S = 0.2
"""How long each speed is measured for."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Int8Report(_Frozen):
    """``int8.json``: float32 export against int8, on the validation rows."""

    schema_version: int = 1
    applicable: bool
    reason: str = ""
    """Why it is not applicable."""
    rows: int = 0
    bytes_float32: int = 0
    bytes_int8: int = 0
    metric: str = ""
    metric_float32: float | None = None
    metric_int8: float | None = None
    metric_loss: float | None = None
    """How much worse int8 is, in the metric's unit; negative when it is better."""
    max_abs_difference: float | None = None
    decision_flips: int | None = None
    us_per_row_float32: Mapping[str, float] = {}
    """By batch size, one thread."""
    us_per_row_int8: Mapping[str, float] = {}
    speed_up: Mapping[str, float] = {}
    batch_invariant: bool | None = None
    """Whether a row's score is the same alone and among others."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure of merit of scores against labels."""

    name: str
    value: Callable[[Scores, Floats], float]
    higher_is_better: bool


class _Batches(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime is untyped
    def __init__(self, runner: Runner, rows: Rows) -> None:
        self._batches: Iterator[dict[str, npt.NDArray[Any]]] = iter(
            [
                runner.feeds(take(rows, slice(start, start + _CALIBRATION_BATCH)))
                for start in range(0, length(rows), _CALIBRATION_BATCH)
            ]
        )

    def get_next(self) -> dict[str, npt.NDArray[Any]] | None:
        """The next batch, or None after the last."""
        return next(self._batches, None)


def not_applicable(original: Original) -> str | None:
    """Why int8 makes no sense for this model, or None."""
    if original.is_tree:
        return "a tree ensemble compares and adds; it has no matrix products to quantize"
    found = {node.op_type for node in original.graph.graph.node}
    if not found & _QUANTIZED_OPERATORS:
        return "the graph has no matrix products to quantize"
    return None


def quantize(
    original: Original, content: bytes, inputs: Sequence[InputColumn], rows: Rows
) -> bytes:
    """The int8 graph, calibrated on at most ``CALIBRATION_ROWS`` of the training rows.

    Raises ``PublishError`` when it is not applicable.
    """
    reason = not_applicable(original)
    if reason is not None:
        raise PublishError(f"int8 is not applicable: {reason}.")
    few = take(rows, np.random.default_rng(0).permutation(length(rows))[:CALIBRATION_ROWS])
    runner = Runner(content, inputs, original.layout)
    with TemporaryDirectory() as folder:
        made = Path(folder, "int8.onnx")
        logging.getLogger().addFilter(_no_advice)
        try:
            quantize_static(
                original.graph,
                str(made),
                _Batches(runner, few),
                quant_format=QuantFormat.QDQ,
                activation_type=QuantType.QInt8,
                weight_type=QuantType.QInt8,
                per_channel=True,
            )
        finally:
            logging.getLogger().removeFilter(_no_advice)
        return made.read_bytes()


def _no_advice(record: logging.LogRecord) -> bool:
    """The quantizer advises on the root logger to preprocess; for these small graphs it is moot."""
    return "pre-processing" not in record.getMessage()


def int8_report(
    float32: bytes,
    int8: bytes,
    inputs: Sequence[InputColumn],
    layout: str,
    rows: Rows,
    labels: Floats,
    metric: Metric,
    *,
    threshold: float | None,
    served: Callable[[Scores], Floats] = lambda scores: scores[:, -1],
) -> Int8Report:
    """Measure both on the same held-back rows."""
    full, small = (Runner(content, inputs, layout) for content in (float32, int8))
    before, after = full.score(rows), small.score(rows)
    values = metric.value(before, labels), metric.value(after, labels)
    loss = values[0] - values[1] if metric.higher_is_better else values[1] - values[0]
    decide = _decisions(threshold, served)
    speeds = [_speed(runner, rows) for runner in (full, small)]
    alone = np.concatenate(
        [small.score(take(rows, slice(i, i + 1))) for i in range(min(32, length(rows)))]
    )
    return Int8Report(
        applicable=True,
        rows=length(rows),
        bytes_float32=len(float32),
        bytes_int8=len(int8),
        metric=metric.name,
        metric_float32=values[0],
        metric_int8=values[1],
        metric_loss=loss,
        max_abs_difference=float(np.abs(before - after).max()),
        decision_flips=int((decide(before) != decide(after)).sum()),
        us_per_row_float32=speeds[0],
        us_per_row_int8=speeds[1],
        speed_up={batch: speeds[0][batch] / speeds[1][batch] for batch in speeds[0]},
        batch_invariant=bool((alone == after[: len(alone)]).all()),
    )


def _decisions(
    threshold: float | None, served: Callable[[Scores], Floats]
) -> Callable[[Scores], npt.NDArray[Any]]:
    if threshold is not None:
        return lambda scores: served(scores) >= threshold
    return lambda scores: scores.argmax(axis=1)


def _speed(runner: Runner, rows: Rows) -> dict[str, float]:
    """Microseconds a row by batch size; the fastest of many runs, after one to warm up."""
    found = {}
    for batch in (1, 32):
        feeds = runner.feeds(take(rows, np.arange(batch) % length(rows)))
        runner.run(feeds)
        best = np.inf
        until = time.perf_counter() + SPEED_S
        while (began := time.perf_counter()) < until:
            runner.run(feeds)
            best = min(best, time.perf_counter() - began)
        found[str(batch)] = best * 1e6 / batch
    return found
