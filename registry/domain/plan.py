"""The plan of a rollout: how far, how long, how many, and what must not get worse.

Durations are in business time. A plan is fixed when its rollout starts.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from contracts.evidence import BLOCK_S_MAX, MARGIN_MAX, SLO_MS_MAX, GuardKind, GuardSpec
from contracts.manifest import Name

HOUR_S = 3600
DAY_S = 86_400
LABEL_KINDS = frozenset({"log_loss", "brier", "accuracy", "mae"})
"""Guards that know something only when labels have come."""
RISK_KINDS: frozenset[GuardKind] = frozenset({"error_rate", "latency"})
"""Guards whose effect is a relative risk − 1; all others are differences in the guard's unit."""


S_MAX = 3650 * DAY_S
"""Ten years; longer is a mistake, and ends where a database keeps whole numbers."""
COUNT_MAX = 10**12


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class GuardPlan(_Frozen):
    """One thing that must not get worse, and by how much it must be shown not to."""

    name: Name
    kind: GuardKind
    role: Literal["guard", "signal"] = "guard"
    direction: Literal["higher_is_worse", "lower_is_worse"] = "higher_is_worse"
    margin: float = Field(default=0.0, ge=0, le=MARGIN_MAX)
    """Worsening beyond which there is harm; for error_rate and latency a relative risk − 1."""
    accept: float | None = Field(default=None, ge=0)
    """Non-inferiority: the harmful end of the interval must lie within this; None: the margin."""
    negligible_rate: float | None = Field(default=None, gt=0, lt=1)
    """error_rate, latency: a bad share that surely is below this is accepted at any ratio."""
    unit: str = Field(default="", max_length=32)
    slo_ms: float | None = Field(default=None, gt=0, le=SLO_MS_MAX)
    """latency: an answer slower than this is a bad one."""
    metric: str | None = Field(default=None, max_length=64)
    """business: the name of the event whose value is averaged."""

    @model_validator(mode="after")
    def _is_whole(self) -> "GuardPlan":
        if self.kind == "latency" and self.slo_ms is None:
            raise ValueError("a latency guard names its slo_ms")
        if self.kind == "business" and self.metric is None:
            raise ValueError("a business guard names its metric")
        return self

    @property
    def limit(self) -> float:
        """What the harmful end of the interval is held against."""
        return self.margin if self.accept is None else self.accept


class ShadowPlan(_Frozen):
    """How long the version only computes beside, and what has to be seen before it answers."""

    bake_s: int = Field(default=DAY_S, ge=0, le=S_MAX)
    pairs_min: int = Field(default=1000, ge=0, le=COUNT_MAX)
    blocks_min: int = Field(default=0, ge=0, le=COUNT_MAX)
    """Time blocks in which labelled pairs were seen."""


class StepPlan(_Frozen):
    """One weight. Counts are over the whole canary so far, time is at this weight."""

    weight: float = Field(gt=0, le=1)
    bake_s: int = Field(ge=0, le=S_MAX)
    requests_min: int = Field(default=0, ge=0, le=COUNT_MAX)
    blocks_min: int = Field(default=0, ge=0, le=COUNT_MAX)


class RolloutPlan(_Frozen):
    """What the controller goes by."""

    preset: str = "custom"
    shadow: ShadowPlan | None = None
    steps: tuple[StepPlan, ...] = Field(min_length=1, max_length=20)
    guards: tuple[GuardPlan, ...] = Field(default=(), max_length=32)
    alpha: float = Field(default=0.05, gt=0, lt=0.5)
    """Probability of a false rollback over the whole rollout, shared by the guards."""
    block_s: int = Field(default=DAY_S, ge=1, le=BLOCK_S_MAX)
    approvals: tuple[float, ...] = ()
    """Weights that a person has to approve before they are reached."""
    noninferior_from: float = Field(default=1.0, gt=0, le=1)
    """From this weight on, a step is entered only when no guard may be worse than its limit."""
    lag_s_max: float = Field(default=600.0, gt=0, le=S_MAX)
    coverage_gap_max: float = Field(default=0.10, gt=0, le=1)
    """Largest difference between the arms' shares of labelled rows."""
    multiple_exposure_max: float = Field(default=0.01, gt=0, le=1)
    ratio_alpha: float = Field(default=0.01, gt=0, lt=0.5)
    """Level of the sample-ratio mismatch."""
    breaker_requests_min: int = Field(default=20, ge=1, le=COUNT_MAX)
    breaker_error_share: float = Field(default=0.5, gt=0, le=1)
    breaker_crashes: int = Field(default=2, ge=1, le=COUNT_MAX)
    """Replicas that may not die in one step."""
    step_s_max: int | None = Field(default=None, gt=0, le=S_MAX)
    """A step without a decision for so long halts the rollout; None waits for ever."""
    keep_warm_s: int = Field(default=DAY_S, ge=0, le=S_MAX)
    """How long the replaced version stays loaded after the end."""

    @model_validator(mode="after")
    def _is_a_ladder(self) -> "RolloutPlan":
        weights = [step.weight for step in self.steps]
        if weights != sorted(set(weights)) or weights[-1] != 1.0:
            raise ValueError("the steps' weights grow and end at 1")
        if any(abs(weight * 10_000 - round(weight * 10_000)) > 1e-9 for weight in weights):
            raise ValueError("weights are whole buckets: multiples of 0.0001")
        if not set(self.approvals) <= set(weights):
            raise ValueError("approvals name weights of the steps")
        names = [guard.name for guard in self.guards]
        if len(set(names)) != len(names):
            raise ValueError("two guards have the same name")
        return self

    @property
    def guard_alpha(self) -> float:
        """One guard's part of α (Bonferroni over what may roll back)."""
        return self.alpha / max(1, sum(guard.role == "guard" for guard in self.guards))

    def specs(self) -> tuple[GuardSpec, ...]:
        """The guards as the monitor is asked for them."""
        return tuple(
            GuardSpec(
                alpha=self.guard_alpha,
                **guard.model_dump(exclude={"accept", "negligible_rate"}),
            )
            for guard in self.guards
        )


def judged_kinds(task: str, classes: int) -> frozenset[GuardKind]:
    """The kinds of guards that what is served and labelled of such a version can be held to. Of
    bare tensors nobody knows what they mean; of more than two classes the log knows which was
    predicted, not how probable the true one was."""
    anywhere: frozenset[GuardKind] = frozenset({*RISK_KINDS, "score_shift", "business"})
    if task == "regression":
        return anywhere | {"mae"}
    if task != "classification":
        return anywhere
    return anywhere | ({"accuracy"} if classes > 2 else {"accuracy", "log_loss", "brier"})


def default_guards(task: str, classes: int = 2) -> tuple[GuardPlan, ...]:
    """Errors, latency, the scores' distribution, and the loss that belongs to the task."""
    guards = [
        GuardPlan(
            name="error_rate", kind="error_rate", margin=0.25, accept=1.0, negligible_rate=0.01
        ),
        GuardPlan(
            name="latency",
            kind="latency",
            margin=0.25,
            accept=1.0,
            negligible_rate=0.01,
            slo_ms=50.0,
            unit="ms",
        ),
        GuardPlan(name="score_shift", kind="score_shift", role="signal", margin=0.10),
    ]
    if task == "classification" and classes > 2:
        guards.append(
            GuardPlan(
                name="accuracy", kind="accuracy", direction="lower_is_worse", margin=0.02,
                unit="share",
            )
        )  # fmt: skip
    elif task == "classification":
        guards.append(GuardPlan(name="log_loss", kind="log_loss", margin=0.02, unit="nats"))
    if task == "regression":
        guards.append(GuardPlan(name="mae", kind="mae", margin=0.0, accept=1.0))
    return tuple(guards)


_LADDER = (0.05, 0.20, 0.50, 1.00)

_PRESETS: dict[str, dict[str, Any]] = {
    "careful": {
        "shadow": {"bake_s": 2 * DAY_S, "pairs_min": 1000, "blocks_min": 2},
        "step": {"bake_s": 48 * HOUR_S, "requests_min": 1000, "blocks_min": 2},
        "approvals": (1.0,),
        "step_s_max": 21 * DAY_S,
        "keep_warm_s": 7 * DAY_S,
    },
    "standard": {
        "shadow": None,
        "step": {"bake_s": 12 * HOUR_S, "requests_min": 500, "blocks_min": 1},
        "step_s_max": 14 * DAY_S,
        "keep_warm_s": 2 * DAY_S,
    },
    "fast": {
        "shadow": None,
        "step": {"bake_s": HOUR_S, "requests_min": 200, "blocks_min": 0},
        "block_s": HOUR_S,
        "keep_warm_s": DAY_S,
    },
}
PRESETS = tuple(_PRESETS)


def preset_plan(name: str, task: str, classes: int = 2, /, **changes: Any) -> RolloutPlan:
    """The plan of that preset for a model of that task (and as many ``classes``, where that is
    known); ``changes`` replace whole fields. Models of bare tensors have no shadows.

    Raises ``KeyError`` for an unknown name, ``ValidationError`` for changes that do not fit.
    """
    preset = dict(_PRESETS[name])
    if task == "raw":
        preset["shadow"] = None
    step = preset.pop("step")
    fields = {
        "preset": name,
        "steps": [{"weight": weight, **step} for weight in _LADDER],
        "guards": [guard.model_dump() for guard in default_guards(task, classes)],
        **preset,
        **changes,
    }
    return RolloutPlan.model_validate(fields)


def override_plan() -> RolloutPlan:
    """Everything at once, without evidence: what a person orders and answers for."""
    return RolloutPlan(preset="override", steps=(StepPlan(weight=1.0, bake_s=0),))
