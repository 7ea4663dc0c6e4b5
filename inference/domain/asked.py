"""Requests on their way: who asked what, and which rows go to which version together."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from contracts.frames import Answer, Ask
from contracts.routing import Arm
from inference.domain.answers import AnswerWriter
from inference.domain.fleet import LoadedVersion, ServedModel
from inference.domain.instances import FieldError, Row, Values


@dataclass(slots=True)
class Arrival:
    """One ask of the gateway and the way back to it."""

    ask: Ask
    arrived_ns: int
    reply: Callable[[Answer], None]
    wanted: bool = True
    """False once it is answered or the caller has left."""
    rows: int = 0
    """How many rows it asks for, once that is known."""

    @property
    def deadline_ns(self) -> int:
        """Monotonic; when the answer stops being worth anything."""
        return self.arrived_ns + self.ask.remaining_ms * 1_000_000

    def answer(self, answer: Answer) -> None:
        """Reply, if nobody has and somebody waits for it."""
        if self.wanted:
            self.wanted = False
            self.reply(answer)


@dataclass(slots=True)
class Asked:
    """One ``POST /predict``, parsed. Its rows may be answered in several groups."""

    arrival: Arrival
    rows: list[Row]
    rows_left: int
    """Rows that no group has answered yet."""
    mixed: "Mixed | None" = None
    """Only where several groups answer."""


@dataclass(slots=True)
class Mixed:
    """What is gathered of a request whose rows several versions answer."""

    pieces: list[tuple[bytes, AnswerWriter] | None]
    features: list[Any]
    degraded: list[dict[str, Any]] = field(default_factory=list)
    errors: list[FieldError] = field(default_factory=list)
    """Of rows that do not fit, at most ``ERRORS_MAX``."""
    fine: int = 0
    remembered: set[str] = field(default_factory=set)
    """What each group said of its cache."""


@dataclass(slots=True)
class Group:
    """Rows of one turn that one version answers together."""

    model: ServedModel
    arm: Arm
    loaded: LoadedVersion
    epoch: int
    owners: list[Asked] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    """Rows of each owner in this group; they stand together."""
    indices: list[int] = field(default_factory=list)
    """Of each row: its place in its request."""
    rows: list[Row] = field(default_factory=list)
    units: list[str] = field(default_factory=list)
    columns: dict[str, Values] = field(default_factory=dict)
    afterwards: bool = False
    """Scored after the answer: no caller waits, no deadline holds."""

    def add(self, asked: Asked, rows: list[Row], units: list[str], indices: list[int]) -> None:
        """Take these rows of ``asked``."""
        self.owners.append(asked)
        self.counts.append(len(rows))
        self.rows += rows
        self.units += units
        self.indices += indices
