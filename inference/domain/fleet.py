"""What this replica serves: models, their arms, and the loaded versions behind them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from contracts.manifest import Manifest
from contracts.routing import Arm, ModelRoute, RoutingTable
from inference.domain.answers import AnswerWriter
from inference.domain.inputs import InputPlan
from inference.domain.instances import InstanceSchema
from inference.domain.post_process import PostProcessor
from inference.domain.request_time import RequestTime
from inference.domain.split import Split, split_of
from inference.domain.tally import Tally

Tensor = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """An input or output of an ONNX graph; −1 where the shape is free."""

    name: str
    datatype: str
    """As the Open Inference Protocol names it."""
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Computed:
    """What the model said of n rows."""

    outputs: tuple[Tensor, ...]
    """In the order of ``Engine.outputs``; rows that were not computed hold zeros."""
    outcome: npt.NDArray[np.uint8]
    """[n]: 0, or ``model_error`` for a row that the model cannot take, or ``deadline``."""
    queue_ns: int
    compute_ns: int


class Engine(Protocol):
    """One loaded model that computes; n rows in one call."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]: ...

    @property
    def outputs(self) -> tuple[TensorSpec, ...]: ...

    @property
    def fallback(self) -> bool:
        """Whether the CPU computes though another execution provider was wanted."""

    @property
    def batchable(self) -> bool:
        """Whether calls may share a run: its first axes are of rows, each answered for itself."""

    @property
    def runs_at_once(self) -> int:
        """How many runs threads may do at a time, of all versions together."""

    def run_s(self, rows: int) -> float:
        """Predicted seconds of a run of that many rows."""

    async def compute(
        self,
        feeds: dict[str, Tensor],
        rows: int,
        deadlines_ns: npt.NDArray[np.int64] | None,
        *,
        alone: bool = False,
    ) -> Computed:
        """Run the model on ``rows`` rows, together with whatever else waits for it.

        ``alone``: the feeds do not share a first axis of rows; they are run as they are.
        """

    async def compute_together(
        self, feeds: Sequence[dict[str, Tensor]], rows: Sequence[int], deadlines_ns: Sequence[int]
    ) -> list[Computed]:
        """Like ``compute`` for some requests that come together, with a deadline each."""

    def quick(self, rows: int) -> int:
        """How many requests of that many rows may be run on the event loop together, now."""

    def run_together(
        self, feeds: Sequence[dict[str, Tensor]], rows: Sequence[int]
    ) -> list[Computed]:
        """Run the feeds of some requests at once, now, on the event loop; ask ``quick`` before.

        They are of one shape but for their rows.
        """

    def close(self) -> None:
        """Free the model; nothing computes any more."""


@dataclass(slots=True)
class LoadedVersion:
    """A model version, verified, warmed, compiled for the hot path."""

    model: str
    version: str
    manifest: Manifest
    digest: str
    """sha256 of ``model.onnx``."""
    engine: Engine
    tally: Tally
    schema: InstanceSchema
    inputs: InputPlan
    post: PostProcessor
    plan: Any = None  # the reader's own
    request_time: RequestTime | None = None
    timestamp_keys: tuple[str, ...] = ()
    """Key fields that callers send as texts and the store knows as instants."""
    score_output: int = 0
    """Index of the output that post-processing reads."""
    in_use: int = 0
    """Batches that hold this version; it is closed when none does and no table names it."""
    writers: dict[str, AnswerWriter] = field(default_factory=dict)
    policy_id: str = ""
    """Names the decision rule, where decisions are explored."""

    heads: dict[bytes, Any] = field(default_factory=dict)
    """JSON parts of calls with tensors, read before; whoever reads them keeps it short."""

    def writer(self, variant: str) -> AnswerWriter:
        """Writes this version's answers when it answers as ``variant``."""
        writer = self.writers.get(variant)
        if writer is None:
            writer = self.writers[variant] = AnswerWriter(self.manifest, self.version, variant)
        return writer


@dataclass(frozen=True, slots=True)
class ServedModel:
    """One model under one route. ``loaded[i]`` answers for ``route.arms[i]``."""

    name: str
    route: ModelRoute
    split: Split
    loaded: tuple[LoadedVersion, ...]
    shadows: tuple[LoadedVersion, ...]
    unit_key: tuple[str, ...]

    def arm(self, index: int) -> Arm:
        return self.route.arms[index]


@dataclass(frozen=True, slots=True)
class Fleet:
    """Everything served under one epoch; replaced as one value."""

    epoch: int = 0
    models: Mapping[str, ServedModel] = field(default_factory=dict)
    versions: Mapping[tuple[str, str], LoadedVersion] = field(default_factory=dict)
    """Every loaded version, also shadows and those kept warm."""
    missing: frozenset[str] = frozenset()
    """Models of the table that cannot answer here (yet)."""

    def named(self, model: str, version: str | None) -> LoadedVersion | None:
        """That version, or the first that the model's traffic goes to."""
        if version is not None:
            return self.versions.get((model, version))
        served = self.models.get(model)
        return None if served is None else served.loaded[0]


def fleet_of(
    table: RoutingTable, versions: Mapping[tuple[str, str], LoadedVersion], before: Fleet
) -> Fleet:
    """The fleet that the table wants, as far as its versions are loaded.

    A model of which an answering version is missing keeps the route it had; without one before,
    its first arm answers for all, and if that is missing nobody does.
    """
    models: dict[str, ServedModel] = {}
    for name, wanted in table.models.items():
        route = wanted
        loaded = [versions.get((name, arm.version)) for arm in route.arms]
        if not loaded or None in loaded:
            if name in before.models:
                models[name] = before.models[name]
                continue
            if not loaded or loaded[0] is None:
                continue
            alone = route.arms[0].model_copy(update={"weight": 1.0})
            route, loaded = route.model_copy(update={"arms": (alone,)}), loaded[:1]
        whole = tuple(one for one in loaded if one is not None)
        shadows = [versions.get((name, version)) for version in route.shadows]
        first = whole[0].manifest
        models[name] = ServedModel(
            name=name,
            route=route,
            split=split_of(route),
            loaded=whole,
            shadows=tuple(one for one in shadows if one is not None),
            unit_key=first.unit_key or first.entity_keys,
        )
    kept = dict(versions)
    for model in models.values():
        kept.update({(one.model, one.version): one for one in (*model.loaded, *model.shadows)})
    return Fleet(table.epoch, models, kept, frozenset(table.models) - frozenset(models))
