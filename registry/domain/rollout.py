"""A rollout: where it stands, and what a verdict or a person changes about it.

Pure: every change takes the rollout and the time, and gives the next rollout. Positions: step 0 is
before any traffic (loading, then shadow); step i > 0 is the plan's i-th weight.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from contracts.evidence import Evidence, StepWindow
from registry.domain.plan import RolloutPlan, StepPlan
from registry.domain.verdict import Verdict

Status = Literal["warming", "running", "paused", "promoted", "rolled_back", "halted", "aborted"]
ACTIVE: frozenset[Status] = frozenset({"warming", "running", "paused"})


class Rollout(BaseModel):
    """The document of one rollout. ``revision`` grows with every change; it is the ETag."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    model: str
    candidate: str
    baseline: str
    attempt: int
    """Which try of this version it is; every try has its own salt."""
    salt: str
    plan: RolloutPlan
    status: Status = "warming"
    step: int = 0
    started_by: str
    started_us: int
    since_us: int
    """When the present step began."""
    windows: tuple[StepWindow, ...] = ()
    approved: tuple[float, ...] = ()
    gaps_known: int | None = None
    """Gaps of the log before this step, or accepted by a person."""
    crashes: int = 0
    """Replicas that died in this step while they had the candidate at work."""
    verdict: Verdict | None = None
    evidence: Evidence | None = None
    warm_until_us: int | None = None
    """Until when the replaced version stays loaded; None: it is not kept (any more)."""
    revision: int = 1
    reason: str = ""

    @property
    def is_active(self) -> bool:
        """Whether it may still change by itself."""
        return self.status in ACTIVE

    @property
    def is_shadowing(self) -> bool:
        """Loaded, computing beside, answering nobody."""
        return self.step == 0 and self.status != "warming" and self.plan.shadow is not None

    @property
    def plan_step(self) -> StepPlan | None:
        """The plan of the present weight; None before the first."""
        return self.plan.steps[self.step - 1] if self.step else None

    @property
    def next_step(self) -> StepPlan | None:
        """The plan of the next weight; None at the last."""
        return self.plan.steps[self.step] if self.step < len(self.plan.steps) else None

    @property
    def weight(self) -> float:
        """The share of units that the candidate answers now, or was left with at the end."""
        step = self.plan_step
        return step.weight if step and (self.is_active or self.status == "promoted") else 0.0

    @property
    def place(self) -> str:
        """Where it stands, for a sentence."""
        step = self.plan_step
        if step is not None:
            return f"at {percent(step.weight)}"
        return "while loading" if self.status == "warming" else "in shadow"

    @property
    def goal(self) -> str:
        """Where it goes next, for a sentence."""
        if self.status == "warming" and self.plan.shadow is not None:
            return "shadow"
        following = self.next_step
        return percent(following.weight) if following else "production"

    def windows_asked(self) -> tuple[StepWindow, ...]:
        """The windows whose evidence counts now: pairs in shadow, afterwards those with traffic.

        At 100 % there is no second arm any more, but breakers and late labels still count.
        """
        if self.step == 0:
            return tuple(window for window in self.windows if window.step == 0)
        return tuple(window for window in self.windows if window.weight > 0)

    def entered(self, step: int, now_us: int) -> "Rollout":
        """At another step: its window opens, the one before closes."""
        weight = self.plan.steps[step - 1].weight if step else 0.0
        opened = StepWindow(step=step, weight=weight, from_us=now_us)
        return self.changed(
            status="running",
            step=step,
            since_us=now_us,
            windows=(*closed(self.windows, now_us), opened),
            gaps_known=None,
            crashes=0,
        )

    def judged(self, verdict: Verdict, evidence: Evidence | None) -> "Rollout":
        """With the last verdict and what it was based on; no change of state, no new revision."""
        known = self.gaps_known
        if known is None and evidence is not None:
            known = evidence.gaps
        return self.model_copy(
            update={
                "verdict": verdict,
                "evidence": evidence or self.evidence,
                "gaps_known": known,
            }
        )

    def ended(self, status: Status, now_us: int, reason: str) -> "Rollout":
        """Over, for the reason given."""
        assert status not in ACTIVE
        return self.changed(
            status=status, since_us=now_us, windows=closed(self.windows, now_us), reason=reason
        )

    def changed(self, **update: object) -> "Rollout":
        """Another revision."""
        return self.model_copy(update={**update, "revision": self.revision + 1})


def closed(windows: tuple[StepWindow, ...], now_us: int) -> tuple[StepWindow, ...]:
    """The same windows, none of them open."""
    return tuple(
        window
        if window.until_us is not None
        else window.model_copy(update={"until_us": max(now_us, window.from_us)})
        for window in windows
    )


def percent(share: float) -> str:
    """``5 %``, ``0.5 %``."""
    return f"{share * 100:g} %"
