"""ONNX Runtime sessions: open, run, isolate a poison row; all blocking."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from contracts.served import OUTCOMES
from contracts.tensor_types import SERVED
from inference.domain.fleet import Tensor, TensorSpec
from kit.logs import LineBudget, get_logger

_log = get_logger(__name__)
FAILURE_LINES_PER_S_MAX = 10
"""Callers choose what a model fails on; the log is not theirs to fill."""
_failure_lines = LineBudget(FAILURE_LINES_PER_S_MAX)
_MODEL_ERROR = OUTCOMES.index("model_error")

DATATYPES = {f"tensor({one.element})": one.datatype for one in SERVED}
"""ONNX Runtime's names of tensor types and the Open Inference Protocol's."""


class ModelRefused(ValueError):
    """The artifact is not a model that can be served here; the message says why."""


@dataclass(frozen=True, slots=True)
class OnnxSession:
    """One session: blocking, thread-safe."""

    session: Any  # onnxruntime publishes no types
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    fallback: bool
    """Whether the CPU computes though another execution provider was wanted."""

    @property
    def batchable(self) -> bool:
        """Whether rows of several requests may share a run: every input's first axis is free.

        What converters declare of outputs is often wrong; they are checked when they come.
        """
        firsts = [spec.shape[:1] for spec in self.inputs]
        return bool(firsts) and all(first == (-1,) for first in firsts)

    def run(self, feeds: dict[str, Tensor]) -> list[Tensor]:
        """All outputs. Raises what ONNX Runtime raises."""
        outputs: list[Tensor] = self.session.run(None, feeds)
        return outputs


def open_session(model: bytes, providers: Sequence[str], threads: int) -> OnnxSession:
    """Load a model; blocking. Raises ``ModelRefused``.

    Providers that this build lacks are left out, the CPU always comes last.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what fails is raised as well, and then logged in bounds
    # A spinning pool takes a core from the services beside it.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    have = onnxruntime.get_available_providers()
    wanted = [name for name in providers if name in have and name != "CPUExecutionProvider"]
    try:
        session = onnxruntime.InferenceSession(
            model, options, providers=[*wanted, "CPUExecutionProvider"]
        )
        inputs = tuple(_spec(node) for node in session.get_inputs())
        outputs = tuple(_spec(node) for node in session.get_outputs())
    except ModelRefused:
        raise
    except Exception as refused:  # ONNX Runtime's exceptions share no narrower public class
        raise ModelRefused(str(refused)[:500]) from refused
    first = session.get_providers()[0]
    return OnnxSession(session, inputs, outputs, bool(providers) and first != providers[0])


def _spec(node: Any) -> TensorSpec:
    if node.type not in DATATYPES:
        raise ModelRefused(f"tensor {node.name} has the type {node.type}, which is not served")
    shape = tuple(size if isinstance(size, int) and size >= 0 else -1 for size in node.shape)
    return TensorSpec(node.name, DATATYPES[node.type], shape)


def run_in_pieces(
    session: OnnxSession, feeds: dict[str, Tensor], rows: int, rows_max: int
) -> tuple[list[Tensor], npt.NDArray[np.uint8]]:
    """``run_rows`` in runs of at most ``rows_max`` rows."""
    if rows <= rows_max:
        return run_rows(session, feeds, rows)
    pieces = []
    for start in range(0, rows, rows_max):
        count = min(rows_max, rows - start)
        part = {name: value[start : start + count] for name, value in feeds.items()}
        pieces.append(run_rows(session, part, count))
        if not by_row(pieces[-1][0], count):  # an output that is about all rows at once
            return run_rows(session, feeds, rows)
    outputs = [np.concatenate(parts) for parts in zip(*(piece[0] for piece in pieces), strict=True)]
    return outputs, np.concatenate([piece[1] for piece in pieces])


def by_row(outputs: Sequence[Tensor], rows: int) -> bool:
    """Whether each output has an entry a row, so that it may be cut and joined."""
    return all(output.shape[:1] == (rows,) for output in outputs)


def _tell(failed: Exception, rows: int) -> None:
    if _failure_lines.take():
        _log.warning("model_run_failed", rows=rows, reason=str(failed)[:300])


def run_alone(
    session: OnnxSession, feeds: dict[str, Tensor], rows: int
) -> tuple[list[Tensor], npt.NDArray[np.uint8]]:
    """One run of feeds whose first axes are not rows in common; it fails or works as a whole."""
    try:
        return session.run(feeds), np.zeros(rows, np.uint8)
    except Exception as failed:  # noqa: BLE001 - ONNX Runtime's share no narrower public class
        _tell(failed, rows)
        return [np.zeros(0, np.float32)], np.full(rows, _MODEL_ERROR, np.uint8)


def run_rows(
    session: OnnxSession, feeds: dict[str, Tensor], rows: int
) -> tuple[list[Tensor], npt.NDArray[np.uint8]]:
    """One run. If it fails, each row is tried alone once: a poison row answers for itself."""
    outcome = np.zeros(rows, np.uint8)
    try:
        return session.run(feeds), outcome
    except Exception as failed:  # noqa: BLE001 - ONNX Runtime's share no narrower public class
        _tell(failed, rows)
    fine: dict[int, list[Tensor]] = {}
    for row in range(rows if rows > 1 else 0):
        try:
            fine[row] = session.run({name: value[row : row + 1] for name, value in feeds.items()})
        except Exception:  # noqa: BLE001 - as above
            outcome[row] = _MODEL_ERROR
    if not fine:
        shapes = [(rows, *(max(size, 1) for size in spec.shape[1:])) for spec in session.outputs]
        zeros = [np.zeros(shape, np.float32) for shape in shapes]
        return zeros, np.full(rows, _MODEL_ERROR, np.uint8)
    example = next(iter(fine.values()))
    blank = [np.zeros_like(output) for output in example]
    columns = zip(*(fine.get(row, blank) for row in range(rows)), strict=True)
    return [np.concatenate(column) for column in columns], outcome
