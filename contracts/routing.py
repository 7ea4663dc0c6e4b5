"""The routing table: which versions of which model take traffic, and how units are assigned."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Variant = Literal["production", "canary", "shadow", "arm"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Arm(_Frozen):
    """A version and its share of the units."""

    version: str
    variant: Variant
    weight: float = Field(ge=0, le=1)
    name: str = ""
    """Name of the arm in an experiment; empty outside one."""


class ModelRoute(_Frozen):
    """How one model is served.

    The arms' weights sum to one. Units fall into 10,000 buckets (see ``contracts.assignment``);
    the arms *after the first* take the lowest buckets in their order, the first arm (production,
    or control) the rest: so the 5 % of a canary are inside its later 20 %.
    """

    arms: tuple[Arm, ...]
    salt: str = ""
    rollout_id: str | None = None
    experiment_id: str | None = None
    step: int = 0
    shadows: tuple[str, ...] = ()
    """Versions that compute after the answer and are never answered."""
    warm: tuple[str, ...] = ()
    """Further versions that stay loaded, so that a rollback needs no load."""

    def versions(self) -> tuple[str, ...]:
        """Every version that must be loaded, without repeats, serving ones first."""
        ordered = [*(arm.version for arm in self.arms), *self.shadows, *self.warm]
        return tuple(dict.fromkeys(ordered))


class RoutingTable(_Frozen):
    """Delivered by the registry as one value; the epoch only grows, while the registry's database
    is not restored from a copy."""

    epoch: int = Field(ge=0)
    issued_us: int = 0
    models: dict[str, ModelRoute] = Field(default_factory=dict)

    @property
    def tag(self) -> str:
        """Tells two tables apart, also when a restored registry uses an epoch again."""
        return f"{self.epoch}.{self.issued_us}"


class VersionState(_Frozen):
    """What one replica says of one version."""

    model: str
    version: str
    state: Literal["loading", "ready", "failed", "draining"]
    reason: str = ""


class ReplicaReport(_Frozen):
    """A replica's heartbeat to the registry (``PUT /v1/replicas/{replica}``)."""

    replica: str
    epoch: int
    versions: tuple[VersionState, ...]
    push_url: str | None = None
    """Where the registry may push a new table (``POST {push_url}``); None: poll only."""
    boot: str = ""
    """Differs after every start of the process; a new one without ``stopping`` before: a crash."""
    stopping: bool = False
    """The last report of a process that was asked to stop."""
