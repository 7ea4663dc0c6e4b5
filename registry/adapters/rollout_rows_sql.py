"""Rollouts, their decisions, experiments, leases and webhooks in one transaction."""

from sqlalchemy import delete, func, insert, or_, select, update

from registry.adapters.rows_sql import Rows
from registry.adapters.tables import DECISIONS, EXPERIMENTS, LEASES, ROLLOUTS, WEBHOOKS
from registry.domain.experiment import Experiment
from registry.domain.rollout import ACTIVE, Rollout
from registry.domain.verdict import Verdict
from registry.domain.webhook import Webhook
from registry.ports import Decision

DECISIONS_SHOWN_MAX = 500


class RolloutRows(Rows):
    """See ``registry.ports.Transaction``."""

    def rollout(self, rollout_id: str) -> Rollout | None:
        found = self._text(select(ROLLOUTS.c.document).where(ROLLOUTS.c.id == rollout_id))
        return None if found is None else Rollout.model_validate_json(found)

    def rollouts(self, model: str | None = None, *, unsettled: bool = False) -> list[Rollout]:
        query = select(ROLLOUTS.c.document).order_by(ROLLOUTS.c.ordinal)
        if model is not None:
            query = query.where(ROLLOUTS.c.model == model)
        if unsettled:
            query = query.where(
                or_(ROLLOUTS.c.status.in_(sorted(ACTIVE)), ROLLOUTS.c.warm_until_us.is_not(None))
            )
        return [Rollout.model_validate_json(text) for text in self._db.execute(query).scalars()]

    def add_rollout(self, rollout: Rollout) -> None:
        ordinal = self._db.execute(select(func.count()).select_from(ROLLOUTS)).scalar_one()
        self._db.execute(insert(ROLLOUTS).values(ordinal=ordinal + 1, **_rollout_row(rollout)))

    def put_rollout(self, rollout: Rollout) -> None:
        self._db.execute(
            update(ROLLOUTS).where(ROLLOUTS.c.id == rollout.id).values(**_rollout_row(rollout))
        )

    def decisions(self, rollout_id: str) -> list[Decision]:
        query = (
            select(DECISIONS.c.at_us, DECISIONS.c.wall_us, DECISIONS.c.document)
            .where(DECISIONS.c.rollout_id == rollout_id)
            .order_by(DECISIONS.c.seq.desc())
            .limit(DECISIONS_SHOWN_MAX)
        )
        found = [
            Decision(at_us, wall_us, Verdict.model_validate_json(text))
            for at_us, wall_us, text in self._db.execute(query)
        ]
        return found[::-1]

    def add_decision(self, rollout_id: str, verdict: Verdict) -> None:
        self._db.execute(
            insert(DECISIONS).values(
                rollout_id=rollout_id,
                at_us=self._now_us,
                wall_us=self.wall_us(),
                document=verdict.model_dump_json(),
            )
        )

    def experiment(self, experiment_id: str) -> Experiment | None:
        found = self._text(select(EXPERIMENTS.c.document).where(EXPERIMENTS.c.id == experiment_id))
        return None if found is None else Experiment.model_validate_json(found)

    def experiments(self, model: str | None = None, *, running: bool = False) -> list[Experiment]:
        query = select(EXPERIMENTS.c.document).order_by(EXPERIMENTS.c.ordinal)
        if model is not None:
            query = query.where(EXPERIMENTS.c.model == model)
        if running:
            query = query.where(EXPERIMENTS.c.status == "running")
        return [Experiment.model_validate_json(text) for text in self._db.execute(query).scalars()]

    def put_experiment(self, experiment: Experiment) -> None:
        row = {
            "model": experiment.model,
            "status": experiment.status,
            "document": experiment.model_dump_json(),
        }
        changed = self._db.execute(
            update(EXPERIMENTS).where(EXPERIMENTS.c.id == experiment.id).values(**row)
        )
        if not changed.rowcount:
            count = self._db.execute(select(func.count()).select_from(EXPERIMENTS)).scalar_one()
            self._db.execute(insert(EXPERIMENTS).values(id=experiment.id, ordinal=count + 1, **row))

    def take_lease(self, name: str, holder: str, seconds: float) -> bool:
        wall_us = self.wall_us()
        found = self._db.execute(select(LEASES).where(LEASES.c.name == name)).first()
        if found is not None and found.holder != holder and found.until_wall_us > wall_us:
            return False
        self._db.execute(delete(LEASES).where(LEASES.c.name == name))
        until_us = wall_us + int(seconds * 1e6)
        self._db.execute(insert(LEASES).values(name=name, holder=holder, until_wall_us=until_us))
        return True

    def webhooks(self) -> list[Webhook]:
        texts = self._db.execute(select(WEBHOOKS.c.document).order_by(WEBHOOKS.c.id)).scalars()
        return [Webhook.model_validate_json(text) for text in texts]

    def put_webhook(self, webhook: Webhook) -> None:
        self.drop_webhook(webhook.id)
        self._db.execute(insert(WEBHOOKS).values(id=webhook.id, document=webhook.model_dump_json()))

    def drop_webhook(self, webhook_id: str) -> None:
        self._db.execute(delete(WEBHOOKS).where(WEBHOOKS.c.id == webhook_id))


def _rollout_row(rollout: Rollout) -> dict[str, object]:
    return {
        "id": rollout.id,
        "model": rollout.model,
        "status": rollout.status,
        "warm_until_us": rollout.warm_until_us,
        "document": rollout.model_dump_json(),
    }
