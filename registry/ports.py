"""What the registry's verbs need from outside."""

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

from contracts.evidence import Evidence, EvidenceQuery
from contracts.manifest import FileEntry, Manifest
from contracts.routing import ModelRoute, ReplicaReport, RoutingTable
from registry.domain.audit import Act, Entry
from registry.domain.effects import Scene
from registry.domain.experiment import Experiment
from registry.domain.rollout import Rollout
from registry.domain.signature import Signature
from registry.domain.verdict import Verdict
from registry.domain.version import VersionRecord
from registry.domain.webhook import Webhook

T = TypeVar("T")
Series = Literal["versions", "rollouts", "experiments"]


@dataclass(frozen=True, slots=True)
class SeenReplica:
    """A replica's last report and when it came (wall time)."""

    report: ReplicaReport
    seen_wall_us: int


@dataclass(frozen=True, slots=True)
class Decision:
    """A verdict and when it was given, in business and in real time."""

    at_us: int
    wall_us: int
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Once:
    """A caller's idempotency key, and the sha256 of what it asked for with it."""

    principal: str
    key: str
    request_digest: str


class Transaction(Protocol):
    """One atomic look at, or change of, everything the registry knows. Not for other threads."""

    def now_us(self) -> int:
        """Business time of this transaction; the same at every call."""

    def models(self) -> list[str]: ...

    def version(self, model: str, version: str) -> VersionRecord | None: ...

    def versions(self, model: str | None = None) -> list[VersionRecord]:
        """All, or one model's, oldest first."""

    def add_version(self, record: VersionRecord) -> None: ...

    def next_number(self, series: Series, model: str, taken: Collection[int], of: str = "") -> int:
        """A number that stands for nothing else, here or in a database that this one replaced."""

    def avoid_version(self, model: str, version: str) -> None:
        """Somebody serves a version of that number; it is not to become another one's."""

    def put_version(self, record: VersionRecord) -> None: ...

    def table(self) -> RoutingTable: ...

    def route(self, model: str) -> ModelRoute | None: ...

    def put_route(self, model: str, route: ModelRoute | None) -> int:
        """Change one model's route (None removes it). Returns the new epoch."""

    def record(self, act: Act) -> Entry:
        """Append to the audit log."""

    def entries(self, after: int = 0, limit: int = 1000, model: str | None = None) -> list[Entry]:
        """Audit entries with seq > ``after``, in order. Raises ``BrokenChain`` at one that is not
        what was written."""

    def audit_head(self) -> tuple[int, str]:
        """(seq, digest) of the last entry, kept apart from the entries."""

    def replicas(self) -> list[SeenReplica]: ...

    def put_replica(self, report: ReplicaReport) -> None: ...

    def wall_us(self) -> int:
        """Real time."""

    def scene(self, rollout: Rollout) -> Scene:
        """The rollout with the route and the two versions as they are now."""

    def rollout(self, rollout_id: str) -> Rollout | None: ...

    def rollouts(self, model: str | None = None, *, unsettled: bool = False) -> list[Rollout]:
        """Oldest first; ``unsettled``: active, or with a replaced version still kept loaded."""

    def add_rollout(self, rollout: Rollout) -> None: ...

    def put_rollout(self, rollout: Rollout) -> None: ...

    def settle(self, before: Scene, after: Scene, act: Act) -> None:
        """Keep everything that differs between the scenes, and the act that made it differ."""

    def decisions(self, rollout_id: str) -> list[Decision]:
        """The last verdicts that said something new, oldest first."""

    def add_decision(self, rollout_id: str, verdict: Verdict) -> None: ...

    def experiment(self, experiment_id: str) -> Experiment | None: ...

    def experiments(
        self, model: str | None = None, *, running: bool = False
    ) -> list[Experiment]: ...

    def put_experiment(self, experiment: Experiment) -> None: ...

    def take_lease(self, name: str, holder: str, seconds: float) -> bool:
        """True when the lease is this holder's for the next seconds (of wall time)."""

    def webhooks(self) -> list[Webhook]: ...

    def put_webhook(self, webhook: Webhook) -> None: ...

    def drop_webhook(self, webhook_id: str) -> None: ...

    def mirrored_aliases(self, model: str) -> dict[str, str]:
        """Alias -> MLflow version, as we last set them there."""

    def put_mirrored_aliases(self, model: str, aliases: dict[str, str]) -> None: ...


class Numbers(Protocol):
    """Which numbers were given, remembered apart from the database.

    Others know a version by its number: one that means something else after the database was
    restored from a copy would be served, counted and believed as what it was before.
    """

    def next(self, series: Series, model: str, taken: Collection[int], of: str = "") -> int:
        """The number that ``of`` was given before, unless it is taken; else one beyond all."""

    def keep(self, series: Series, model: str, number: int, of: str = "") -> None:
        """Remember, durably, that the number is given."""


class Ledger(Protocol):
    """The registry's own database."""

    async def read(self, work: Callable[[Transaction], T]) -> T:
        """Run ``work`` on a consistent snapshot, off the event loop."""

    async def write(self, work: Callable[[Transaction], T]) -> T:
        """Run ``work`` alone among all writers of all copies; all of it or nothing is kept."""

    async def write_once(
        self,
        once: Once | None,
        work: Callable[[Transaction], dict[str, Any]],
        *,
        dry_run: bool = False,
    ) -> dict[str, Any]:
        """``write``, but a key that was used before gets the first answer again.

        A dry run does all of the work and keeps none of it; its answer says ``dry_run``.
        Raises ``Problem`` when the key was used for another request.
        """


@dataclass(frozen=True, slots=True)
class StagedFile:
    """A file that has arrived and is not yet part of anything."""

    path: Path
    entry: FileEntry


class ArtifactStore(Protocol):
    """Files addressed by the sha256 of their content."""

    async def stage(self, path: str, chunks: AsyncIterator[bytes]) -> StagedFile:
        """Write the bytes aside and hash them. Raises ``Problem`` when there are too many."""

    async def take(self, path: str, place: Path) -> StagedFile:
        """Stage a file that lies on this machine already; it is moved away from ``place``."""

    async def keep(self, staged: Sequence[StagedFile]) -> None:
        """Make them durable under their hashes."""

    async def discard(self, staged: Sequence[StagedFile]) -> None: ...

    def locate(self, sha256: str) -> Path | None:
        """The file with that content, or None."""


@dataclass(frozen=True, slots=True)
class Inspection:
    """What a look into files found."""

    faults: list[str]
    """Why they may not be kept, in sentences; empty when they may."""
    signature: Signature | None = None
    """Of ``model.onnx``, where there is no fault."""


class Inspector(Protocol):
    """Looks into files before they are kept."""

    async def __call__(self, manifest: Manifest, files: Sequence[StagedFile]) -> Inspection: ...


@dataclass(frozen=True, slots=True)
class LoggedRun:
    """An MLflow run, in the manifest's words."""

    training: dict[str, Any]
    """The fields of ``contracts.manifest.TrainingMetadata`` that the run says."""
    files: dict[str, Path]
    """By path in the version: where each file lies for the moment."""


class RunSource(Protocol):
    """MLflow's runs, read only."""

    def __call__(self, run_id: str, artifact: str) -> AbstractAsyncContextManager[LoggedRun]:
        """The run and what it logged under that name. Raises ``Problem``."""


class MirrorRefused(Exception):
    """MLflow is there and does not take this version."""


class ModelMirror(Protocol):
    """MLflow's registry, as far as we write to it."""

    async def put_version(self, record: VersionRecord, files: Mapping[str, Path]) -> str:
        """Register the version with its run, unless it already is. Returns MLflow's number.

        Raises ``MirrorRefused``.
        """

    async def digests(self, model: str) -> dict[str, str]:
        """MLflow version number -> digest of the version that it shows."""

    async def aliases(self, model: str) -> dict[str, str]:
        """Alias -> MLflow version number."""

    async def set_alias(self, model: str, alias: str, version: str | None) -> None:
        """Point the alias at the MLflow version; None removes it."""


class EvidenceSource(Protocol):
    """The monitor."""

    async def __call__(self, query: EvidenceQuery) -> Evidence | None:
        """What was served says; None when the monitor does not answer, or not in words we know."""


class WebhookPost(Protocol):
    """Sends one signed message to one subscriber."""

    async def fault_of(self, url: str) -> str | None:
        """Why this URL may not be posted to, in a sentence, or None."""

    async def __call__(
        self, webhook: Webhook, message_id: str, payload: dict[str, Any]
    ) -> str | None:
        """None when it was taken, else why not, in a few words."""


class TablePush(Protocol):
    """Sends a table to replicas; who does not answer in time gets it by its own poll."""

    async def __call__(self, urls: Sequence[str], table: RoutingTable) -> None: ...


Announce = Callable[[], None]
"""Called after a change of the routing table has been committed: wakes and pushes to replicas."""
