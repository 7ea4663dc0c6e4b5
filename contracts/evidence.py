"""What the monitor tells the registry about a rollout: evidence, never a decision.

The registry asks (``POST /v1/evidence``) with the guards of its plan; the monitor answers with
estimates, intervals and e-values computed from what was served. The registry alone decides.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

GuardKind = Literal[
    "error_rate", "latency", "score_shift", "log_loss", "brier", "accuracy", "mae", "business"
]


INSTANT_US_MAX = 253_402_300_799_999_999
"""The end of the year 9999."""
BLOCK_S_MAX, MARGIN_MAX, SLO_MS_MAX = 3650 * 86_400, 1e6, 1e9


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class GuardSpec(_Frozen):
    """One thing that must not get worse by more than a margin."""

    name: str
    kind: GuardKind
    role: Literal["guard", "signal"] = "guard"
    """A guard may roll back; a signal can only hold."""
    direction: Literal["higher_is_worse", "lower_is_worse"] = "higher_is_worse"
    margin: float = Field(default=0.0, ge=0, le=MARGIN_MAX)
    """Tolerated worsening, in ``unit``; for error_rate and latency a tolerated relative risk."""
    unit: str = ""
    alpha: float = Field(gt=0, lt=1)
    """This guard's share of the error budget (already divided among the guards)."""
    slo_ms: float | None = Field(default=None, gt=0, le=SLO_MS_MAX)
    metric: str | None = None


class StepWindow(_Frozen):
    """A stretch of time with one weight; evidence is stratified by these, never pooled."""

    step: int
    weight: float = Field(ge=0, le=1)
    from_us: int = Field(ge=0, le=INSTANT_US_MAX)
    until_us: int | None = Field(default=None, ge=0, le=INSTANT_US_MAX)


class EvidenceQuery(_Frozen):
    """``POST /v1/evidence``."""

    model: str
    rollout_id: str
    baseline_version: str
    candidate_version: str
    paired: bool
    """Shadow: the same request answered by both. Canary: two arms."""
    steps: tuple[StepWindow, ...] = Field(min_length=1, max_length=100)
    guards: tuple[GuardSpec, ...] = Field(min_length=1, max_length=32)
    block_s: int = Field(default=86_400, ge=1, le=BLOCK_S_MAX)
    """Length of the time blocks by which evidence is clustered."""


class GuardEvidence(_Frozen):
    """The state of one guard. Differences are candidate minus baseline, in the guard's unit."""

    name: str
    n_baseline: int
    n_candidate: int
    blocks: int
    baseline_value: float | None = None
    candidate_value: float | None = None
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    log_e: float = 0.0
    """Log e-value against "not worse than the margin"; evidence of harm when large."""
    coverage_baseline: float | None = None
    coverage_candidate: float | None = None
    """Share of the served rows of that arm whose label has come."""
    note: str = ""


class ArmCount(_Frozen):
    """What one arm was given."""

    version: str
    requests: int
    units: int
    errors: int
    intended_share: float


class SampleRatio(_Frozen):
    """Sample-ratio mismatch: Dirichlet-multinomial log e-value against the intended shares."""

    log_e: float
    observed: tuple[int, ...]
    intended: tuple[float, ...]


class ShadowPairs(_Frozen):
    """Paired comparison of a shadow with what was answered."""

    pairs: int
    mean_difference: float | None = None
    difference_low: float | None = None
    difference_high: float | None = None
    decision_flips: int = 0
    labelled_pairs: int = 0
    blocks: int = 0
    latency_ratio: float | None = None


class Breakers(_Frozen):
    """Inputs of the absolute circuit breakers, over the last five minutes of business time."""

    candidate_requests: int = 0
    candidate_errors: int = 0
    nan_answers: int = 0


class Evidence(_Frozen):
    """Everything a verdict needs; reproducible from stored events."""

    model: str
    rollout_id: str
    as_of_us: int
    lag_s: float
    """How far the monitor is behind the log; large lag is a reason to hold."""
    gaps: int = 0
    arms: tuple[ArmCount, ...]
    sample_ratio: SampleRatio | None = None
    multiple_exposure_share: float = 0.0
    guards: tuple[GuardEvidence, ...]
    pairs: ShadowPairs | None = None
    breakers: Breakers = Breakers()
    segments: dict[str, ShadowPairs] = Field(default_factory=dict)
