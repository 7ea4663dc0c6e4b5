"""An A/B/n experiment: fixed shares by sticky hash, judged by sequential intervals at any time."""

import math
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from contracts.evidence import Evidence, GuardEvidence, GuardSpec
from registry.domain.numbers import VERSION
from registry.domain.plan import COUNT_MAX, DAY_S, S_MAX, GuardPlan
from registry.domain.sentences import basis_of, effect_of

Finding = Literal["better", "worse", "no_difference", "not_enough_data"]


class ArmPlan(BaseModel):
    """A version and its share of the units."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")
    version: str = Field(pattern=VERSION)
    weight: float = Field(gt=0, lt=1)


class ExperimentPlan(BaseModel):
    """The first arm is the control, and is the version in production."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    arms: tuple[ArmPlan, ...] = Field(min_length=2, max_length=10)
    metrics: tuple[GuardPlan, ...] = Field(min_length=1, max_length=16)
    """``margin`` is the smallest difference that would matter; role ``guard`` stops an arm."""
    alpha: float = Field(default=0.05, gt=0, lt=0.5)
    """Probability of any false finding, shared by the metrics and the arms."""
    block_s: int = Field(default=DAY_S, ge=1, le=S_MAX)
    units_min: int = Field(default=100, ge=1, le=COUNT_MAX)

    @model_validator(mode="after")
    def _is_whole(self) -> "ExperimentPlan":
        if abs(sum(arm.weight for arm in self.arms) - 1.0) > 1e-9:
            raise PydanticCustomError("weights_must_sum_to_one", "the arms' weights sum to one")
        for what in ("name", "version"):
            if len({getattr(arm, what) for arm in self.arms}) != len(self.arms):
                raise PydanticCustomError(
                    f"two_arms_of_one_{what}", f"two arms have the same {what}"
                )
        if len({metric.name for metric in self.metrics}) != len(self.metrics):
            raise PydanticCustomError("two_metrics_of_one_name", "two metrics have the same name")
        return self

    @property
    def metric_alpha(self) -> float:
        """One comparison's part of α."""
        return self.alpha / (len(self.metrics) * (len(self.arms) - 1))

    def specs(self) -> tuple[GuardSpec, ...]:
        """The metrics as the monitor is asked for them."""
        return tuple(
            GuardSpec(
                alpha=self.metric_alpha, **metric.model_dump(exclude={"accept", "negligible_rate"})
            )
            for metric in self.metrics
        )


class Comparison(BaseModel):
    """One arm against the control on one metric."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    arm: str
    metric: str
    finding: Finding
    sentence: str
    evidence: GuardEvidence | None = None


class Experiment(BaseModel):
    """The document of one experiment."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    model: str
    plan: ExperimentPlan
    salt: str
    status: Literal["warming", "running", "stopped"] = "warming"
    started_by: str
    started_us: int
    running_us: int | None = None
    """When the arms began to take traffic."""
    stopped_us: int | None = None
    comparisons: tuple[Comparison, ...] = ()
    mismatch: str = ""
    """Why the arms cannot be compared, when they cannot (sample-ratio mismatch)."""
    reason: str = ""
    revision: int = 1

    @property
    def control(self) -> ArmPlan:
        """The first arm."""
        return self.plan.arms[0]

    def changed(self, **update: object) -> "Experiment":
        """Another revision."""
        return self.model_copy(update={**update, "revision": self.revision + 1})


def compare(plan: ExperimentPlan, arm: ArmPlan, evidence: Evidence) -> tuple[Comparison, ...]:
    """What the evidence on one arm against the control says, metric by metric.

    A finding needs the whole interval on one side of zero (better, worse) or within ± margin (no
    difference); everything else is not enough data yet, however tempting the estimate.
    """
    units = min((count.units for count in evidence.arms), default=0)
    found = {one.name: one for one in evidence.guards}
    return tuple(
        _compare(plan, arm, metric, found.get(metric.name), units) for metric in plan.metrics
    )


def mismatch_of(evidence: Evidence, alpha: float) -> str:
    """Why the arms cannot be compared; empty when they can."""
    ratio = evidence.sample_ratio
    if ratio is None or ratio.log_e < math.log(1 / alpha):
        return ""
    return (
        f"units fall on the arms as {ratio.observed} where shares of "
        f"{tuple(round(share, 4) for share in ratio.intended)} were intended"
    )


def _compare(
    plan: ExperimentPlan, arm: ArmPlan, metric: GuardPlan, found: GuardEvidence | None, units: int
) -> Comparison:
    if found is None or found.low is None or found.high is None or units < plan.units_min:
        seen = f"{units:,} of {plan.units_min:,} units" if units < plan.units_min else "no interval"
        return Comparison(
            arm=arm.name,
            metric=metric.name,
            finding="not_enough_data",
            sentence=f"{arm.name}, {metric.name}: not enough data yet ({seen}).",
            evidence=found,
        )
    finding = _finding(metric, found.low, found.high)
    words = {
        "better": "better than the control",
        "worse": "worse than the control",
        "no_difference": "no difference that matters",
        "not_enough_data": "not enough data yet",
    }
    return Comparison(
        arm=arm.name,
        metric=metric.name,
        finding=finding,
        sentence=f"{arm.name}: {effect_of(metric, found)} "
        f"{basis_of(metric, found, plan.block_s)}: {words[finding]}.",
        evidence=found,
    )


def _finding(metric: GuardPlan, low: float, high: float) -> Finding:
    if metric.direction == "lower_is_worse":
        low, high = -high, -low
    if low > 0:
        return "worse"
    if high < 0:
        return "better"
    return "no_difference" if -metric.margin <= low and high <= metric.margin else "not_enough_data"
