"""ONNX Runtime sessions, and the lanes in which rows wait for them."""

import asyncio
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from contracts.served import OUTCOMES
from inference.adapters.slots import Slots
from inference.domain.costs import RunCosts
from inference.domain.fleet import Computed, Tensor, TensorSpec
from kit.clock import Clock
from kit.logs import get_logger

_log = get_logger(__name__)
_MODEL_ERROR = OUTCOMES.index("model_error")
_DEADLINE = OUTCOMES.index("deadline")

DATATYPES = {
    "tensor(bool)": "BOOL",
    "tensor(uint8)": "UINT8",
    "tensor(uint16)": "UINT16",
    "tensor(uint32)": "UINT32",
    "tensor(uint64)": "UINT64",
    "tensor(int8)": "INT8",
    "tensor(int16)": "INT16",
    "tensor(int32)": "INT32",
    "tensor(int64)": "INT64",
    "tensor(float16)": "FP16",
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(bfloat16)": "BF16",
    "tensor(string)": "BYTES",
}
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
        """Whether rows of several requests may share a run: every first dimension is free."""
        return all(spec.shape and spec.shape[0] == -1 for spec in (*self.inputs, *self.outputs))

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
    options.log_severity_level = 3
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


@dataclass(slots=True)
class _Job:
    """Rows that wait for a run together."""

    feeds: dict[str, Tensor]
    rows: int
    deadlines_ns: npt.NDArray[np.int64] | None
    future: "asyncio.Future[Computed]"
    shape: tuple[Any, ...]
    queued_ns: int
    alive: npt.NDArray[np.bool_] | None = field(default=None)


class OnnxEngine:
    """The lane of one model version. Batches are formed when a slot is free, never before."""

    def __init__(
        self,
        session: OnnxSession,
        *,
        clock: Clock,
        slots: Slots,
        executor: Executor,
        rows_max: int,
        inline_us_max: int,
        weight: float = 1.0,
    ) -> None:
        self._session: OnnxSession | None = session
        self.inputs = session.inputs
        self.outputs = session.outputs
        self.fallback = session.fallback
        self.weight = weight
        self.served_s = 0.0
        self.costs = RunCosts()
        self._batchable = session.batchable
        self._clock = clock
        self._slots = slots
        self._executor = executor
        self._rows_max = rows_max
        self._inline_s_max = inline_us_max / 1e6
        self._queue: deque[_Job] = deque()
        self._queued_rows = 0

    @property
    def seconds_a_row(self) -> float:
        """Recent compute time of a row in a full batch."""
        return self.costs.seconds(self._rows_max) / self._rows_max

    @property
    def waiting(self) -> bool:
        """Whether rows wait for a slot."""
        return bool(self._queue)

    def wait_s(self) -> float:
        """How long rows that arrive now are predicted to wait before they compute."""
        return self._queued_rows * self.seconds_a_row + self._slots.busy_s()

    async def compute(
        self, feeds: dict[str, Tensor], rows: int, deadlines_ns: npt.NDArray[np.int64] | None
    ) -> Computed:
        """Run the model on these rows, together with whatever else waits for it.

        A short run is done at once on the event loop; others wait for a slot and run in a thread.
        """
        if (
            not self._queue
            and rows <= self._rows_max
            and self.costs.seconds(rows) <= self._inline_s_max
        ):
            return self._run_here(feeds, rows)
        future: asyncio.Future[Computed] = asyncio.get_running_loop().create_future()
        shape = tuple((name, value.dtype, value.shape[1:]) for name, value in feeds.items())
        queued_ns = self._clock.monotonic_ns()
        self._queue.append(_Job(feeds, rows, deadlines_ns, future, shape, queued_ns))
        self._queued_rows += rows
        self._slots.offer(self)
        return await future

    def warm(self, feeds: dict[str, Tensor]) -> tuple[list[Tensor], npt.NDArray[np.uint8]]:
        """Run at once and learn what it costs; blocking, before the version serves."""
        rows = len(next(iter(feeds.values())))
        began_ns = self._clock.monotonic_ns()
        outputs, outcome = run_rows(self._open(), feeds, rows)
        self.costs.learn(rows, (self._clock.monotonic_ns() - began_ns) / 1e9)
        return outputs, outcome

    def close(self) -> None:
        """Free the model; nothing computes any more."""
        self._session = None

    def _run_here(self, feeds: dict[str, Tensor], rows: int) -> Computed:
        began_ns = self._clock.monotonic_ns()
        outputs, outcome = run_rows(self._open(), feeds, rows)
        took_ns = self._clock.monotonic_ns() - began_ns
        self.costs.learn(rows, took_ns / 1e9)
        return Computed(tuple(outputs), outcome, 0, took_ns)

    def _open(self) -> OnnxSession:
        assert self._session is not None, "a closed version was asked to compute"
        return self._session

    async def run_next(self) -> float:
        """Form one batch from the queue and run it in a thread; seconds it took. For ``Slots``."""
        jobs = self._form()
        if not jobs:
            return 0.0
        began_ns = self._clock.monotonic_ns()
        loop = asyncio.get_running_loop()
        feeds = jobs[0].feeds
        if len(jobs) > 1:
            feeds = {name: np.concatenate([job.feeds[name] for job in jobs]) for name in feeds}
        rows = sum(job.rows for job in jobs)
        try:
            outputs, outcome = await loop.run_in_executor(
                self._executor, run_in_pieces, self._open(), feeds, rows, self._rows_max
            )
        except Exception as failed:
            for job in jobs:
                if not job.future.done():
                    job.future.set_exception(failed)
            raise
        took_ns = self._clock.monotonic_ns() - began_ns
        self.costs.learn(rows, took_ns / 1e9)
        self._hand_out(jobs, outputs, outcome, began_ns, took_ns)
        return took_ns / 1e9

    def _form(self) -> list[_Job]:
        """The oldest jobs that fit one batch; what nobody waits for any more is left out."""
        jobs: list[_Job] = []
        rows = 0
        now_ns = self._clock.monotonic_ns()
        while self._queue:
            job = self._queue[0]
            if jobs and (
                not self._batchable
                or job.shape != jobs[0].shape
                or rows + job.rows > self._rows_max
            ):
                break
            self._queue.popleft()
            self._queued_rows -= job.rows
            if job.future.cancelled():
                continue
            if not _drop_late(job, now_ns):
                _answer_late(job, self.outputs, now_ns)
                continue
            jobs.append(job)
            rows += job.rows
        return jobs

    @staticmethod
    def _hand_out(
        jobs: list[_Job],
        outputs: list[Tensor],
        outcome: npt.NDArray[np.uint8],
        began_ns: int,
        took_ns: int,
    ) -> None:
        start = 0
        for job in jobs:
            end = start + job.rows
            mine = outputs if len(jobs) == 1 else [output[start:end] for output in outputs]
            verdict = outcome[start:end]
            if job.alive is not None:
                mine, verdict = _spread(mine, verdict, job.alive)
            if not job.future.done():
                queue_ns = began_ns - job.queued_ns
                job.future.set_result(Computed(tuple(mine), verdict, queue_ns, took_ns))
            start = end


def _drop_late(job: _Job, now_ns: int) -> bool:
    """Keep only the rows whose deadline is ahead; False when there is none."""
    if job.deadlines_ns is None or (job.deadlines_ns > now_ns).all():
        return True
    alive = job.deadlines_ns > now_ns
    if not alive.any():
        return False
    job.alive = alive
    job.feeds = {name: value[alive] for name, value in job.feeds.items()}
    job.rows = int(alive.sum())
    return True


def _answer_late(job: _Job, specs: Sequence[TensorSpec], now_ns: int) -> None:
    shapes = [(job.rows, *(max(size, 1) for size in spec.shape[1:])) for spec in specs]
    zeros = tuple(np.zeros(shape, np.float32) for shape in shapes)
    outcome = np.full(job.rows, _DEADLINE, np.uint8)
    job.future.set_result(Computed(zeros, outcome, now_ns - job.queued_ns, 0))


def _spread(
    outputs: Sequence[Tensor], outcome: npt.NDArray[np.uint8], alive: npt.NDArray[np.bool_]
) -> tuple[list[Tensor], npt.NDArray[np.uint8]]:
    """Put the computed rows back in their places; the dropped ones are zeros and ``deadline``."""
    whole = []
    for output in outputs:
        spread = np.zeros((len(alive), *output.shape[1:]), output.dtype)
        spread[alive] = output
        whole.append(spread)
    verdict = np.full(len(alive), _DEADLINE, np.uint8)
    verdict[alive] = outcome
    return whole, verdict


def run_in_pieces(
    session: OnnxSession, feeds: dict[str, Tensor], rows: int, rows_max: int
) -> tuple[list[Tensor], npt.NDArray[np.uint8]]:
    """``run_rows`` in runs of at most ``rows_max`` rows."""
    if rows <= rows_max or not session.batchable:
        return run_rows(session, feeds, rows)
    pieces = [
        run_rows(
            session,
            {name: value[start : start + rows_max] for name, value in feeds.items()},
            min(rows_max, rows - start),
        )
        for start in range(0, rows, rows_max)
    ]
    outputs = [np.concatenate(parts) for parts in zip(*(piece[0] for piece in pieces), strict=True)]
    return outputs, np.concatenate([piece[1] for piece in pieces])


def run_rows(
    session: OnnxSession, feeds: dict[str, Tensor], rows: int
) -> tuple[list[Tensor], npt.NDArray[np.uint8]]:
    """One run. If it fails, each row is tried alone once: a poison row answers for itself."""
    outcome = np.zeros(rows, np.uint8)
    try:
        return session.run(feeds), outcome
    except Exception as failed:  # noqa: BLE001 - ONNX Runtime's share no narrower public class
        _log.warning("model_run_failed", rows=rows, reason=str(failed)[:300])
    fine: dict[int, list[Tensor]] = {}
    for row in range(rows if session.batchable and rows > 1 else 0):
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
