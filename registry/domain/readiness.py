"""What the inference replicas say: a version takes traffic only when every live one has it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from contracts.routing import ReplicaReport

QUOTED_CHARS_MAX = 300
"""Of a reason that a replica gives for a failure."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """The live replicas' last reports."""

    reports: tuple[ReplicaReport, ...]

    @classmethod
    def of(cls, seen: Iterable[tuple[ReplicaReport, int]], wall_us: int, live_s: float) -> Self:
        """Those of (report, wall time it came) that are recent enough to count as live."""
        since = wall_us - int(live_s * 1e6)
        return cls(
            tuple(report for report, seen_us in seen if seen_us >= since and not report.stopping)
        )

    def waiting_for(self, model: str, version: str) -> tuple[str, ...]:
        """The replicas on which the version is not ready yet."""
        return tuple(
            report.replica for report in self.reports if _state(report, model, version) != "ready"
        )

    def failures(self, model: str, version: str) -> tuple[str, ...]:
        """Why the version could not be loaded, one sentence for each replica that says so."""
        return tuple(
            f"{report.replica}: {_short(said.reason) or 'failed to load'}"
            for report in self.reports
            for said in report.versions
            if (said.model, said.version, said.state) == (model, version, "failed")
        )

    def said_of(self, model: str, version: str) -> list[dict[str, str]]:
        """``{"replica", "state", "reason"}`` of each that has it, loads it, or could not."""
        return [
            {"replica": report.replica, "state": said.state, "reason": said.reason}
            for report in self.reports
            for said in report.versions
            if (said.model, said.version) == (model, version)
        ]


def _short(reason: str) -> str:
    """What a verdict's sentence has room for."""
    return reason if len(reason) <= QUOTED_CHARS_MAX else reason[: QUOTED_CHARS_MAX - 1] + "…"


def crashed(before: ReplicaReport | None, now: ReplicaReport) -> bool:
    """Whether the replica died between two reports without having been asked to stop."""
    if before is None or not before.boot or not now.boot or before.stopping:
        return False
    return before.boot != now.boot


def _state(report: ReplicaReport, model: str, version: str) -> str | None:
    return next(
        (v.state for v in report.versions if (v.model, v.version) == (model, version)), None
    )
