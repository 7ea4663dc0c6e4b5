"""Roll back: the version that served before answers again, at once, because it is still loaded."""

from dataclasses import dataclass
from typing import Any

from contracts.identity import Caller
from contracts.problems import ProblemCode
from kit.problems import Problem
from registry.domain.audit import Act
from registry.domain.effects import taken_back, undone
from registry.domain.promotion import Refused
from registry.domain.rollout import Rollout
from registry.domain.verdict import Kind, Verdict
from registry.ports import Announce, Ledger, Once, Transaction
from registry.preconditions import Expected, known_rollout, known_versions, permit


@dataclass(frozen=True, slots=True)
class RollBack:
    """A person's rollback; the controller's is ``registry.steer``."""

    ledger: Ledger
    announce: Announce

    async def rollout(
        self,
        rollout_id: str,
        reason: str,
        caller: Caller,
        expected: Expected,
        *,
        once: Once | None = None,
        dry_run: bool = False,
    ) -> dict[str, Any]:
        """Take back a rollout, under way or finished. Raises ``Problem``."""
        await permit(self.ledger, caller, "registry:promote", "rollout.roll_back", rollout_id)

        def work(tx: Transaction) -> dict[str, Any]:
            rollout = known_rollout(tx, rollout_id)
            expected.check(rollout.revision, {"status": rollout.status, "step": rollout.step})
            return self._take_back(tx, rollout, reason, caller)

        answer = await self.ledger.write_once(once, work, dry_run=dry_run)
        self.announce()
        return answer

    async def model(
        self,
        model: str,
        reason: str,
        caller: Caller,
        *,
        once: Once | None = None,
        dry_run: bool = False,
    ) -> dict[str, Any]:
        """Take back whatever last changed what serves this model. Raises ``Problem``."""
        await permit(self.ledger, caller, "registry:promote", "rollout.roll_back", model)

        def work(tx: Transaction) -> dict[str, Any]:
            known_versions(tx, model)
            candidates = [
                rollout
                for rollout in tx.rollouts(model, unsettled=True)
                if rollout.is_active or rollout.status == "promoted"
            ]
            if not candidates:
                way = (
                    "bring one back by an override"
                    if tx.route(model)
                    else "nothing of this model is in production; move a version there"
                )
                raise Problem(ProblemCode.CONFLICT, f"No earlier version is still loaded; {way}.")
            return self._take_back(tx, candidates[-1], reason, caller)

        answer = await self.ledger.write_once(once, work, dry_run=dry_run)
        self.announce()
        return answer

    def _take_back(
        self, tx: Transaction, rollout: Rollout, reason: str, caller: Caller
    ) -> dict[str, Any]:
        before = tx.scene(rollout)
        if rollout.is_active:
            after = taken_back(before, "rolled_back", tx.now_us(), reason)
        elif rollout.status == "promoted":
            try:
                after = undone(before, tx.now_us(), reason)
            except Refused as refused:
                raise Problem(ProblemCode.CONFLICT, f"{str(refused).capitalize()}.") from refused
        else:
            raise Problem(ProblemCode.CONFLICT, f"The rollout is {rollout.status} already.")
        sentence = f"Rolled back {rollout.place} by {caller.principal}: {reason}"
        tx.add_decision(
            rollout.id, Verdict(kind=Kind.ROLL_BACK, reason="person", sentence=sentence)
        )
        act = Act(
            actor=caller.principal,
            action="rollout.roll_back",
            model=rollout.model,
            subject=rollout.id,
            reason=reason,
            before={"status": rollout.status, "step": rollout.step, "serves": rollout.candidate},
            after={"status": after.rollout.status, "serves": rollout.baseline},
        )
        tx.settle(before, after, act)
        return after.rollout.model_dump(mode="json")
