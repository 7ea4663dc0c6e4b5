"""Mirror: MLflow shows what the registry decided; what moves there without us is noticed.

The registry's own tables are the truth. MLflow may be away: then versions and aliases wait.
"""

from dataclasses import dataclass
from pathlib import Path

from registry.domain.audit import Act
from registry.domain.lifecycle import State
from registry.domain.version import VersionRecord
from registry.metrics import MIRROR_OUT_OF_BAND, MIRROR_PENDING
from registry.ports import ArtifactStore, Ledger, ModelMirror, Transaction

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

    async def __call__(self) -> None:
        """Raises what MLflow raises; then the rest waits for the next time.

        Does nothing while another copy holds the lease: two that compare at the same time would
        take each other's moves for somebody's in MLflow.
        """
        records = await self.ledger.read(lambda tx: tx.versions())
        pending = [record for record in records if record.mlflow_version is None]
        MIRROR_PENDING.set(len(pending))
        for record in pending:
            if not await self._is_ours():
                return
            await self._put(record)
        for model in sorted({record.model for record in records}):
            if not await self._is_ours():
                return
            await self._align(model)
        MIRROR_PENDING.set(0)

    async def _is_ours(self) -> bool:
        return await self.ledger.write(lambda tx: tx.take_lease(LEASE, self.holder, self.lease_s))

    async def _put(self, record: VersionRecord) -> None:
        number = await self.mlflow.put_version(record, self._files(record))

        def remember(tx: Transaction) -> None:
            current = tx.version(record.model, record.version)
            assert current is not None
            tx.put_version(current.model_copy(update={"mlflow_version": number}))

        await self.ledger.write(remember)

    def _files(self, record: VersionRecord) -> dict[str, Path]:
        located = {e.path: self.artifacts.locate(e.sha256) for e in record.manifest.files}
        return {path: place for path, place in located.items() if place is not None}

    async def _align(self, model: str) -> None:
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
