"""A verdict: what the controller decides, why by a stable name, and in a sentence for people."""

from enum import Enum
from typing import Literal

from pydantic import BaseModel, ConfigDict


class Kind(Enum):
    """What happens next."""

    PROMOTE = "promote"
    HOLD = "hold"
    HALT = "halt"
    ROLL_BACK = "roll_back"


Reason = Literal[
    "approval",
    "bake",
    "blocks",
    "breaker_crash",
    "breaker_errors",
    "breaker_nan",
    "breaker_load",
    "coverage",
    "gaps",
    "guard",
    "lag",
    "monitor_away",
    "multiple_exposure",
    "non_inferiority",
    "not_ready",
    "passed",
    "paused",
    "person",
    "sample_ratio",
    "samples",
    "signal",
    "timeout",
]


class Verdict(BaseModel):
    """One decision. ``missing`` says in short sentences what a HOLD waits for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind
    reason: Reason
    sentence: str
    missing: tuple[str, ...] = ()
    guard: str = ""
    """The guard that decided, where one did."""
