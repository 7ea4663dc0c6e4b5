"""Describe: what the registry knows of models and versions, for people and for replicas."""

from dataclasses import asdict, dataclass
from typing import Any

from registry.domain.audit import BrokenChain, Entry
from registry.domain.history import reigns
from registry.domain.readiness import Fleet
from registry.domain.traffic import production_of
from registry.domain.version import VersionRecord
from registry.ports import Decision, Ledger, Transaction
from registry.preconditions import broken_log, known_rollout, known_version, known_versions

HISTORY_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Describe:
    """Reads only."""

    ledger: Ledger
    live_s: float
    """How long after its last report a replica counts as live."""

    async def models(self) -> list[dict[str, Any]]:
        """One line a model."""
        return await self.ledger.read(lambda tx: [_line(tx, model) for model in tx.models()])

    async def model(self, model: str) -> dict[str, Any]:
        """A model's route and versions. Raises ``Problem`` when there is none."""

        def look(tx: Transaction) -> dict[str, Any]:
            versions = known_versions(tx, model)
            route, fleet = tx.route(model), self._fleet(tx)
            return {
                "model": model,
                "production": production_of(route),
                "route": None if route is None else route.model_dump(mode="json"),
                "versions": [
                    _summary(record) | {"replicas": fleet.said_of(model, record.version)}
                    for record in versions
                ],
            }

        return await self.ledger.read(look)

    def _fleet(self, tx: Transaction) -> Fleet:
        seen = [(one.report, one.seen_wall_us) for one in tx.replicas()]
        return Fleet.of(seen, tx.wall_us(), self.live_s)

    async def record(self, model: str, version: str) -> VersionRecord:
        """The version. Raises ``Problem`` when there is none."""
        return await self.ledger.read(lambda tx: known_version(tx, model, version))

    async def version(self, model: str, version: str) -> dict[str, Any]:
        """A version with its manifest, its lineage, and what each live replica says of it. Raises
        ``Problem`` when there is none."""

        def look(tx: Transaction) -> tuple[VersionRecord, Fleet]:
            return known_version(tx, model, version), self._fleet(tx)

        record, fleet = await self.ledger.read(look)
        manifest = record.manifest
        return _summary(record) | {
            "replicas": fleet.said_of(model, version),
            "manifest": manifest.model_dump(mode="json"),
            "signature": record.signature and record.signature.model_dump(mode="json"),
            "lineage": {
                "training": None
                if manifest.training is None
                else manifest.training.model_dump(mode="json"),
                "feature_service": manifest.feature_service,
                "feature_fingerprint": manifest.feature_fingerprint,
                "mlflow_version": record.mlflow_version,
            },
        }

    async def descended(
        self, dataset: str | None, dataset_digest: str | None, fingerprint: str | None
    ) -> list[dict[str, Any]]:
        """The versions for which everything that is given holds."""

        def fits(record: VersionRecord) -> bool:
            training = record.manifest.training
            assert training is not None
            return (
                dataset in (None, training.dataset_name)
                and dataset_digest in (None, training.dataset_digest)
                and fingerprint in (None, record.manifest.feature_fingerprint)
            )

        def look(tx: Transaction) -> list[dict[str, Any]]:
            serving = {
                (model, arm.version)
                for model, route in tx.table().models.items()
                for arm in route.arms
                if arm.weight > 0
            }
            return [
                _summary(record) | {"serves": (record.model, record.version) in serving}
                for record in tx.versions()
                if fits(record)
            ]

        return await self.ledger.read(look)

    async def rollouts(self, model: str | None, *, active: bool) -> list[dict[str, Any]]:
        """One line a rollout, oldest first."""
        found = await self.ledger.read(lambda tx: tx.rollouts(model, unsettled=active))
        return [
            rollout.model_dump(
                mode="json", exclude={"plan", "windows", "evidence", "salt", "gaps_known"}
            )
            | {"weight": rollout.weight, "preset": rollout.plan.preset}
            for rollout in found
            if rollout.is_active or not active
        ]

    async def rollout(self, rollout_id: str) -> dict[str, Any]:
        """A rollout, whole. Raises ``Problem`` when there is none."""
        rollout = await self.ledger.read(lambda tx: known_rollout(tx, rollout_id))
        return rollout.model_dump(mode="json") | {"weight": rollout.weight}

    async def decisions(self, rollout_id: str) -> list[dict[str, Any]]:
        """What was decided about a rollout, oldest first."""

        def look(tx: Transaction) -> list[Decision]:
            known_rollout(tx, rollout_id)
            return tx.decisions(rollout_id)

        return [
            {"at_us": one.at_us, "wall_us": one.wall_us, **one.verdict.model_dump(mode="json")}
            for one in await self.ledger.read(look)
        ]

    async def history(self, model: str) -> dict[str, Any]:
        """Which version served when and why, and every act on the model, oldest first. Raises
        ``Problem`` when there is no such model, or the audit log is broken."""

        def look(tx: Transaction) -> list[Entry]:
            known_versions(tx, model)
            return tx.entries(0, HISTORY_MAX, model)

        try:
            entries = await self.ledger.read(look)
        except BrokenChain as broken:
            raise broken_log(broken) from broken
        shown = {"seq", "at_us", "wall_us", "actor", "action", "subject", "reason", "after"}
        return {
            "model": model,
            "champions": [asdict(reign) for reign in reigns(entries)],
            "history": [
                entry.model_dump(include=shown)
                for entry in entries
                if not entry.action.endswith("_refused")
            ],
        }


def _line(tx: Transaction, model: str) -> dict[str, Any]:
    versions = tx.versions(model)
    return {
        "model": model,
        "production": production_of(tx.route(model)),
        "versions": len(versions),
        "latest": versions[-1].version,
    }


def _summary(record: VersionRecord) -> dict[str, Any]:
    training = record.manifest.training
    return {
        "model": record.model,
        "version": record.version,
        "state": record.state.value,
        "revision": record.revision,
        "digest": record.digest,
        "task": record.manifest.task,
        "published_by": record.published_by,
        "published_us": record.published_us,
        "since_us": record.since_us,
        "reason": record.reason,
        "mlflow_version": record.mlflow_version,
        "metrics": {} if training is None else training.metrics,
        "dataset": None
        if training is None
        else f"{training.dataset_name}@{training.dataset_version}",
    }
