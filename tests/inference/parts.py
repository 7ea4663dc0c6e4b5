"""Real small models and fakes of the world around inference."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import orjson
from onnx import TensorProto, helper, numpy_helper

from contracts.frames import Answer, Ask
from contracts.manifest import FileEntry, InputColumn, Manifest, PostProcessing, Tensors, Threshold
from contracts.routing import Arm, ModelRoute, RoutingTable
from contracts.served import ServedBatch, decode_served
from inference.adapters.builder_onnx import OnnxBuilder
from inference.adapters.engine_onnxruntime import OnnxEngine
from inference.adapters.remembered import RememberedAnswers
from inference.adapters.session_onnxruntime import OnnxSession
from inference.adapters.slots import Slots
from inference.domain.asked import Arrival
from inference.domain.fleet import Fleet, LoadedVersion, fleet_of
from inference.domain.pace import Paces
from inference.predict import Predict
from inference.record import Record
from inference.respond import Respond
from inference.route import Route
from inference.score import Score
from inference.shadow import Shadow
from kit.clock import Clock, SystemClock
from kit.redis_pipeline import PipelinedRedis, RedisAway
from kit.tasks import TaskOwner
from shared_features.catalogue import Catalogue
from shared_features.definitions import Entity, FeatureService, FeatureView

FEATURES = tuple(f"f{index}" for index in range(10))
ACCOUNT = Entity("account", {"account": "string"})
STATS = FeatureView("stats", ACCOUNT, dict.fromkeys(FEATURES, "float64"))
SERVICE = FeatureService("risk", tuple(f"stats:{name}" for name in FEATURES))


def catalogue() -> Catalogue:
    """One view of ten numbers a key."""
    return Catalogue([ACCOUNT, STATS, SERVICE])


def logistic_model(weights: Sequence[float], bias: float = 0.0) -> bytes:
    """ONNX: input [n, k] -> probabilities [n, 2] of a logistic regression."""
    k = len(weights)
    w = numpy_helper.from_array(np.array(weights, np.float32).reshape(k, 1), "w")
    b = numpy_helper.from_array(np.array([bias], np.float32), "b")
    one = numpy_helper.from_array(np.array([1], np.float32), "one")
    nodes = [
        helper.make_node("MatMul", ["input", "w"], ["z0"]),
        helper.make_node("Add", ["z0", "b"], ["z"]),
        helper.make_node("Sigmoid", ["z"], ["p"]),
        helper.make_node("Sub", ["one", "p"], ["q"]),
        helper.make_node("Concat", ["q", "p"], ["probabilities"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "logistic",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [None, k])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, 2])],
        [w, b, one],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString()
    return content


def manifest_for(content: bytes, **changes: Any) -> Manifest:
    """A classification of the ten features of one account."""
    service = catalogue().compile("risk")
    entry = FileEntry(
        path="model.onnx", sha256=sha256(content).hexdigest(), size_bytes=len(content)
    )
    columns = tuple(
        InputColumn(name=name, dtype="float32", source=f"stats:{name}") for name in FEATURES
    )
    fields: dict[str, Any] = {
        "model": "risk",
        "task": "classification",
        "feature_service": "risk",
        "feature_fingerprint": service.fingerprint,
        "entity_keys": ("account",),
        "inputs": columns,
        "tensors": Tensors(layout="matrix", probability="probabilities"),
        "post_processing": PostProcessing(threshold=Threshold(value=0.5)),
        "files": (entry,),
    }
    return Manifest.model_validate({**fields, **changes})


@dataclass
class Column:
    """What a reader gives for one ref."""

    values: Any
    status: npt.NDArray[np.uint8]
    age_us: npt.NDArray[np.int64]


@dataclass
class Rows:
    """What a reader gives."""

    columns: dict[str, Column]
    applied_seq: int = 41


@dataclass
class FakeReader:
    """Holds features in a dict; may be away."""

    values: dict[str, Sequence[float]] = field(default_factory=dict)
    away: bool = False
    calls: int = 0

    def plan(self, service: Any) -> Any:
        return service

    async def look_up(
        self, plan: Any, entity_rows: Sequence[Mapping[str, Any]], now_us: int
    ) -> Rows:
        self.calls += 1
        if self.away:
            raise RedisAway("the fake is away")
        known = [self.values.get(str(row["account"])) for row in entity_rows]
        status = np.array([2 if one is None else 0 for one in known], np.uint8)
        table = np.array([[np.nan] * len(FEATURES) if one is None else one for one in known])
        age = np.full(len(known), 1_000_000)
        return Rows(
            {
                f"stats:{name}": Column(table[:, index], status, age)
                for index, name in enumerate(FEATURES)
            }
        )


@dataclass
class MemorySpool:
    """Keeps records in a list."""

    kept: list[bytes] = field(default_factory=list)

    def append(self, payload: bytes, rows: int) -> None:
        self.kept.append(payload)

    @property
    def batches(self) -> list[ServedBatch]:
        return [decode_served(payload) for payload in self.kept]


class CountingExecutor(ThreadPoolExecutor):
    """Counts what it is asked to run."""

    def __init__(self, threads: int, count: list[int]) -> None:
        super().__init__(threads)
        self._count = count

    def submit(self, *arguments: Any, **named: Any) -> Any:
        self._count[0] += 1
        return super().submit(*arguments, **named)


@dataclass
class House:
    """A predict verb with real model runs around fakes."""

    tasks: TaskOwner = field(default_factory=TaskOwner)
    reader: FakeReader = field(default_factory=FakeReader)
    spool: MemorySpool = field(default_factory=MemorySpool)
    clock: Clock = field(default_factory=SystemClock)
    inline_us_max: int = 1_000_000
    slots: int = 1

    def __post_init__(self) -> None:
        self.executor_runs = [0]
        self.executor = CountingExecutor(2, self.executor_runs)
        self.fair = Slots(self.slots, self.tasks)
        self.fleet = Fleet()
        self.respond = Respond(self.clock)
        self.builder = OnnxBuilder(catalogue(), self.reader, self._engine, (), 1)
        self.paces = Paces()
        self.redis = PipelinedRedis("unix:///nowhere", timeout_ms=20)  # not started: away
        score = Score(
            features=self.reader,
            cache=RememberedAnswers(self.redis, self.clock, 1 << 20),
            clock=self.clock,
            rng=np.random.default_rng(7),
        )
        record = Record(self.spool)
        self.shadow = Shadow(
            score=score, record=record, paces=self.paces, clock=self.clock, rows_max=100
        )
        self.predict = Predict(
            route=Route(lambda: self.fleet),
            score=score,
            record=record,
            respond=self.respond,
            paces=self.paces,
            clock=self.clock,
            tasks=self.tasks,
            rows_in_flight_max=10_000,
            afterwards=self.shadow.offer,
        )

    def _engine(self, session: OnnxSession, manifest: Manifest) -> OnnxEngine:
        return OnnxEngine(
            session,
            clock=self.clock,
            slots=self.fair,
            executor=self.executor,
            rows_max=manifest.rows_per_batch_max,
            inline_us_max=self.inline_us_max,
        )

    @property
    def runs(self) -> int:
        """Model runs that waited for a thread, of the answering version."""
        return self.executor_runs[0]

    def load(
        self, version: str = "1", content: bytes | None = None, **changes: Any
    ) -> LoadedVersion:
        """Build a version of the model ``risk``."""
        model = logistic_model([0.1] * 10) if content is None else content
        return self.builder.build(manifest_for(model, **changes), version, {"model.onnx": model})

    def serve(
        self, *loaded: LoadedVersion, weights: Sequence[float] = (1.0,), **route: Any
    ) -> None:
        """Put these versions on the route of their model."""
        arms = tuple(
            Arm(version=one.version, variant="canary" if index else "production", weight=weight)
            for index, (one, weight) in enumerate(zip(loaded, weights, strict=False))
        )
        table = RoutingTable(
            epoch=self.fleet.epoch + 1, models={"risk": ModelRoute(arms=arms, **route)}
        )
        versions = {(one.model, one.version): one for one in loaded}
        self.fleet = fleet_of(table, versions, self.fleet)

    async def ask(self, *bodies: Any, **options: Any) -> list[Answer]:
        """Answer these bodies (JSON values, or bytes as they are) as one turn's batch."""
        arrivals, answers = asks(bodies, self.clock.monotonic_ns(), **options)
        await self.predict.answer(arrivals)
        return [answers[index] for index in range(len(bodies))]

    async def close(self) -> None:
        await self.tasks.stop()
        self.executor.shutdown()


def asks(
    bodies: Sequence[Any],
    now_ns: int,
    *,
    remaining_ms: int = 1_000,
    explain: bool = False,
    model: str = "risk",
    traceparents: Sequence[str] = (),
    glanced: bool = False,
) -> tuple[list[Arrival], dict[int, Answer]]:
    """Arrivals for these bodies, and where their answers will be, by index; ``glanced``: as of a
    gateway that did not read them."""
    answers: dict[int, Answer] = {}

    def keep(index: int, answer: Answer) -> None:
        assert index not in answers, "answered twice"
        answers[index] = answer

    arrivals = []
    for index, body in enumerate(bodies):
        content = body if isinstance(body, bytes) else orjson.dumps(body)
        ask = Ask(
            remaining_ms=remaining_ms,
            request_id=index.to_bytes(16, "big"),
            target=model,
            principal="tester",
            traceparent=traceparents[index] if traceparents else "",
            headers=b"",
            body=content,
            explain=explain,
            rows_max=max(1, content.count(b"{") - 1) if glanced else 0,
        )
        arrivals.append(Arrival(ask, now_ns, partial(keep, index)))
    return arrivals, answers


def instance(account: str = "a") -> dict[str, Any]:
    return {"account": account}


def body(*accounts: str) -> dict[str, Any]:
    """``POST /predict`` for these accounts."""
    return {"model": "risk", "instances": [instance(account) for account in accounts]}


def defaults(value: float) -> list[dict[str, object]]:
    return [
        {
            "name": f"f{index}",
            "dtype": "float32",
            "source": f"stats:f{index}",
            "on_missing": "default",
            "default": value,
        }
        for index in range(10)
    ]


def required() -> list[dict[str, object]]:
    return [
        {"name": f"f{index}", "dtype": "float32", "source": f"stats:f{index}", "on_missing": "fail"}
        for index in range(10)
    ]
