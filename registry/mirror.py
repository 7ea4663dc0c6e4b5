"""Mirror: MLflow shows what the registry decided; what moves there without us is noticed.

The registry's own tables are the truth. MLflow may be away: then versions and aliases wait. It may
be restored from a copy, and not know its numbers any more, or show others under them: then what is
missing is shown again.
"""

from dataclasses import dataclass, field
from pathlib import Path

from kit.logs import get_logger
from registry.domain.audit import Act
from registry.domain.lifecycle import State
from registry.domain.version import VersionRecord
from registry.metrics import MIRROR_OUT_OF_BAND, MIRROR_PENDING
from registry.ports import ArtifactStore, Ledger, MirrorRefused, ModelMirror, Transaction

_log = get_logger(__name__)

LEASE = "mirror"
ALIASED = (State.PRODUCTION, State.CANARY, State.SHADOW, State.CANDIDATE)
"""The states that are shown as aliases of the same name."""


@dataclass(frozen=True, slots=True)
class Mirror:
    """One comparison with MLflow, and the repair of every difference."""

    ledger: Ledger
    artifacts: ArtifactStore
    mlflow: ModelMirror
    holder: str
    lease_s: float
    _trusted: set[str] = field(default_factory=set)
    """Models of which MLflow is not known to have lost anything since they were looked through."""

    async def __call__(self) -> None:
        """Raises what MLflow raises; then the rest waits for the next time.

        Does nothing while another copy holds the lease: two that compare at the same time would
        take each other's moves for somebody's in MLflow.
        """
        MIRROR_PENDING.set(await self.ledger.read(_waiting))
        try:
            for model in await self.ledger.read(lambda tx: tx.models()):
                if not await self._is_ours():
                    return
                looked = model not in self._trusted
                if looked:
                    await self._look_through(model)
                await self._show(model)
                await self._align(model, looked=looked)
        except Exception:
            self._trusted.clear()
            raise
        MIRROR_PENDING.set(await self.ledger.read(_waiting))

    async def _look_through(self, model: str) -> None:
        """What MLflow does not show under the number that it gave is to be shown again."""
        found = await self.mlflow.digests(model)

        def forget(tx: Transaction) -> None:
            for record in tx.versions(model):
                number = record.mlflow_version
                if number is not None and found.get(number) != record.digest:
                    tx.put_version(record.model_copy(update={"mlflow_version": None}))

        await self.ledger.write(forget)
        self._trusted.add(model)

    async def _show(self, model: str) -> None:
        for record in await self.ledger.read(lambda tx: tx.versions(model)):
            if record.mlflow_version is None and await self._is_ours():
                try:
                    await self._put(record)
                except MirrorRefused as refused:  # the others are not concerned
                    _log.warning("mirror_refused", version=record.name, reason=str(refused))

    async def _is_ours(self) -> bool:
        return await self.ledger.write(lambda tx: tx.take_lease(LEASE, self.holder, self.lease_s))

    async def _put(self, record: VersionRecord) -> None:
        files = self._files(record)
        if len(files) < len(record.manifest.files):
            return  # lost here; what is published again brings them
        number = await self.mlflow.put_version(record, files)

        def remember(tx: Transaction) -> None:
            current = tx.version(record.model, record.version)
            assert current is not None
            tx.put_version(current.model_copy(update={"mlflow_version": number}))

        await self.ledger.write(remember)

    def _files(self, record: VersionRecord) -> dict[str, Path]:
        located = {e.path: self.artifacts.locate(e.sha256) for e in record.manifest.files}
        return {path: place for path, place in located.items() if place is not None}

    async def _align(self, model: str, *, looked: bool) -> None:
        if not await self._is_ours():
            return
        records = await self.ledger.read(lambda tx: tx.versions(model))
        before = await self.ledger.read(lambda tx: tx.mirrored_aliases(model))
        wanted = aliases_of(records)
        found = await self.mlflow.aliases(model)
        ours = {state.value for state in ALIASED}
        moved = {
            alias: found.get(alias)
            for alias in sorted(ours)
            # After a crash between setting and remembering, the alias already is what we want.
            if found.get(alias) not in (before.get(alias), wanted.get(alias))
        }
        if moved and not looked:  # by somebody, or by a restore that lost more than aliases
            self._trusted.discard(model)
            return
        if moved:
            await self._log_moves(model, before, moved)
        for alias in sorted(ours):
            if found.get(alias) != wanted.get(alias):
                await self.mlflow.set_alias(model, alias, wanted.get(alias))
        if wanted != before:
            await self.ledger.write(lambda tx: tx.put_mirrored_aliases(model, wanted))

    async def _log_moves(
        self, model: str, before: dict[str, str], moved: dict[str, str | None]
    ) -> None:
        MIRROR_OUT_OF_BAND.inc(len(moved))
        act = Act(
            actor="somebody in MLflow",
            action="alias.moved_outside",
            model=model,
            subject=model,
            reason=f"moved in MLflow itself: {_told(before, moved)}; set back to what serves",
            before={alias: before.get(alias) for alias in moved},
            after=dict(moved),
        )
        await self.ledger.write(lambda tx: tx.record(act))


def _waiting(tx: Transaction) -> int:
    return sum(record.mlflow_version is None for record in tx.versions())


def aliases_of(records: list[VersionRecord]) -> dict[str, str]:
    """Alias -> MLflow version; where several versions share a state, the latest published."""
    return {
        record.state.value: record.mlflow_version
        for record in records
        if record.state in ALIASED and record.mlflow_version is not None
    }


def _told(before: dict[str, str], moved: dict[str, str | None]) -> str:
    """``production from 1 to 2``, in MLflow's numbers."""
    return ", ".join(
        f"{alias} from {before.get(alias, 'nothing')} to {to or 'nothing'}"
        for alias, to in moved.items()
    )
