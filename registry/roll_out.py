"""Roll out: people start a rollout by a plan, pause it, approve it, push it on or end it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from contracts.identity import Caller
from contracts.problems import ProblemCode
from kit.problems import Problem
from registry.domain.audit import Act
from registry.domain.effects import Scene, advanced, begun, taken_back
from registry.domain.lifecycle import State
from registry.domain.numbers import numbers_in
from registry.domain.plan import RolloutPlan, override_plan
from registry.domain.readiness import Fleet
from registry.domain.rollout import Rollout, percent
from registry.domain.traffic import production_of
from registry.domain.verdict import Kind, Verdict
from registry.domain.version import VersionRecord
from registry.ports import Announce, Ledger, Once, Transaction
from registry.preconditions import (
    Expected,
    advice_on_callers,
    known_rollout,
    known_version,
    permit,
    refuse_other_callers,
    refuse_shadow,
    refuse_unjudged,
    refuse_while_rolling_out,
)

Deed = Literal["pause", "resume", "promote", "abort", "override"]
SCOPES: dict[Deed, str] = {
    "pause": "registry:promote",
    "resume": "registry:promote",
    "promote": "registry:promote",
    "abort": "registry:promote",
    "override": "registry:override",
}


@dataclass(frozen=True, slots=True)
class RollOut:
    """What people do to rollouts; what the controller does is ``registry.steer``."""

    ledger: Ledger
    announce: Announce
    new_salt: Callable[[], str]
    live_s: float
    four_eyes: bool

    async def start(
        self,
        model: str,
        version: str,
        plan: Callable[[VersionRecord], RolloutPlan],
        reason: str,
        caller: Caller,
        *,
        once: Once | None = None,
        dry_run: bool = False,
    ) -> dict[str, Any]:
        """Begin to bring a version to production. ``plan`` is made for what the version is."""
        await permit(self.ledger, caller, "registry:promote", "rollout.start", f"{model}/{version}")
        watched = _approved(plan) if self.four_eyes else plan
        answer = await self.ledger.write_once(
            once,
            lambda tx: self._start(tx, model, version, watched, reason, caller),
            dry_run=dry_run,
        )
        self.announce()
        return answer

    async def override(
        self,
        model: str,
        version: str,
        reason: str,
        caller: Caller,
        expected: Expected,
        *,
        once: Once | None = None,
        dry_run: bool = False,
    ) -> dict[str, Any]:
        """All traffic to a version as soon as it is loaded, without evidence, on a person's word.

        A rollout that is under way for the model ends; an experiment is to be stopped before.
        """
        await permit(
            self.ledger, caller, "registry:override", "version.override", f"{model}/{version}"
        )

        def work(tx: Transaction) -> dict[str, Any]:
            record = known_version(tx, model, version)
            expected.check(record.revision, {"state": record.state.value})
            for rollout in tx.rollouts(model, unsettled=True):
                if rollout.is_active and rollout.baseline == version:
                    raise Problem(
                        ProblemCode.CONFLICT,
                        f"This version is in production, and {rollout.id} is under way to take its "
                        "traffic: abort that, and all of it comes back.",
                    )
                if rollout.is_active:
                    self._end(tx, tx.scene(rollout), "abort", f"overridden: {reason}", caller)
            return self._start(tx, model, version, lambda _: override_plan(), reason, caller)

        answer = await self.ledger.write_once(once, work, dry_run=dry_run)
        self.announce()
        return answer

    async def act(
        self,
        rollout_id: str,
        deed: Deed,
        reason: str,
        caller: Caller,
        expected: Expected,
        *,
        once: Once | None = None,
        dry_run: bool = False,
    ) -> dict[str, Any]:
        """Pause, resume, approve, end, or push on without evidence."""
        await permit(self.ledger, caller, SCOPES[deed], f"rollout.{deed}", rollout_id)
        answer = await self.ledger.write_once(
            once,
            lambda tx: self._act(tx, rollout_id, deed, reason, caller, expected),
            dry_run=dry_run,
        )
        self.announce()
        return answer

    def _start(
        self,
        tx: Transaction,
        model: str,
        version: str,
        plan: Callable[[VersionRecord], RolloutPlan],
        reason: str,
        caller: Caller,
    ) -> dict[str, Any]:
        record = known_version(tx, model, version)
        refuse_while_rolling_out(tx, model)
        baseline = production_of(tx.route(model))
        if baseline is None:
            raise Problem(
                ProblemCode.CONFLICT,
                "Nothing of this model is in production; move a version there, without a rollout.",
            )
        if baseline == version:
            raise Problem(ProblemCode.CONFLICT, "This version is in production already.")
        if record.state is State.ARCHIVED:
            record = record.moved(State.CANDIDATE, tx.now_us(), reason)
            tx.put_version(record)
        serving = known_version(tx, model, baseline)
        refuse_other_callers(serving, record)
        earlier, made = tx.rollouts(model), plan(record)
        refuse_unjudged(made.guards, record)
        if made.shadow is not None:
            refuse_shadow(record.manifest)
        number = tx.next_number("rollouts", model, numbers_in(old.id for old in earlier))
        rollout = Rollout(
            id=f"ro-{model}-{number}",
            model=model,
            candidate=version,
            baseline=baseline,
            attempt=1 + sum(old.candidate == version for old in earlier),
            salt=self.new_salt(),
            plan=made,
            started_by=caller.principal,
            started_us=tx.now_us(),
            since_us=tx.now_us(),
            reason=reason,
        )
        tx.add_rollout(rollout)
        before = tx.scene(rollout)
        tx.settle(before, begun(before), _act_of(rollout, "start", reason, caller, None))
        return rollout.model_dump(mode="json") | {"advice": advice_on_callers(serving, record)}

    def _act(
        self,
        tx: Transaction,
        rollout_id: str,
        deed: Deed,
        reason: str,
        caller: Caller,
        expected: Expected,
    ) -> dict[str, Any]:
        rollout = known_rollout(tx, rollout_id)
        expected.check(rollout.revision, _brief(rollout))
        if not rollout.is_active:
            raise Problem(
                ProblemCode.CONFLICT, f"The rollout is {rollout.status}.", current=_brief(rollout)
            )
        before = tx.scene(rollout)
        if deed == "abort":
            return self._end(tx, before, deed, reason, caller)
        if deed == "override":
            self._check_loaded(tx, rollout)
            after = advanced(before, tx.now_us(), reason)
            tx.add_decision(rollout_id, _pushed_on(rollout, reason, caller))
        else:
            after = before.after(self._changed(rollout, deed, before.candidate, caller))
        tx.settle(before, after, _act_of(after.rollout, deed, reason, caller, rollout))
        return after.rollout.model_dump(mode="json")

    def _end(
        self, tx: Transaction, before: Scene, deed: Deed, reason: str, caller: Caller
    ) -> dict[str, Any]:
        after = taken_back(before, "aborted", tx.now_us(), reason)
        verdict = Verdict(kind=Kind.HALT, reason="person", sentence=f"Aborted: {reason}")
        tx.add_decision(after.rollout.id, verdict)
        tx.settle(before, after, _act_of(after.rollout, deed, reason, caller, before.rollout))
        return after.rollout.model_dump(mode="json")

    def _changed(
        self, rollout: Rollout, deed: Deed, candidate: VersionRecord, caller: Caller
    ) -> Rollout:
        if deed == "pause":
            if rollout.status != "running":
                raise Problem(ProblemCode.CONFLICT, f"The rollout is {rollout.status}.")
            return rollout.changed(status="paused")
        if deed == "resume":
            # Whoever resumes has seen that records were lost, and goes on all the same.
            seen = rollout.evidence.gaps if rollout.evidence else rollout.gaps_known
            status = "running" if rollout.status == "paused" else rollout.status
            return rollout.changed(status=status, gaps_known=seen)
        following = rollout.next_step
        waits = following is not None and following.weight in rollout.plan.approvals
        if following is None or not waits or following.weight in rollout.approved:
            raise Problem(
                ProblemCode.CONFLICT,
                "No step waits for approval; an override goes on without evidence.",
            )
        if self.four_eyes and caller.principal in (rollout.started_by, candidate.published_by):
            raise Problem(
                ProblemCode.FORBIDDEN,
                "Somebody else than the publisher and the starter approves it.",
            )
        return rollout.changed(approved=(*rollout.approved, following.weight))

    def _check_loaded(self, tx: Transaction, rollout: Rollout) -> None:
        seen = [(one.report, one.seen_wall_us) for one in tx.replicas()]
        fleet = Fleet.of(seen, tx.wall_us(), self.live_s)
        waiting = fleet.waiting_for(rollout.model, rollout.candidate)
        if waiting or not fleet.reports:
            raise Problem(
                ProblemCode.CONFLICT,
                "The version is not loaded on every live replica; it takes no traffic before.",
                waiting=list(waiting),
            )


def _approved(
    plan: Callable[[VersionRecord], RolloutPlan],
) -> Callable[[VersionRecord], RolloutPlan]:
    """The same plan, with a person's approval before the end whatever it says."""

    def made(record: VersionRecord) -> RolloutPlan:
        given = plan(record)
        last = given.steps[-1].weight
        approvals = tuple(sorted({*given.approvals, last}))
        return given.model_copy(update={"approvals": approvals})

    return made


def _pushed_on(rollout: Rollout, reason: str, caller: Caller) -> Verdict:
    sentence = f"Promoted to {rollout.goal} without evidence by {caller.principal}: {reason}"
    return Verdict(kind=Kind.PROMOTE, reason="person", sentence=sentence)


def _act_of(
    rollout: Rollout, deed: str, reason: str, caller: Caller, before: Rollout | None
) -> Act:
    return Act(
        actor=caller.principal,
        action=f"rollout.{deed}",
        model=rollout.model,
        subject=rollout.id,
        reason=reason,
        before=None if before is None else _brief(before),
        after=_brief(rollout),
    )


def _brief(rollout: Rollout) -> dict[str, Any]:
    return {
        "candidate": rollout.candidate,
        "baseline": rollout.baseline,
        "status": rollout.status,
        "step": rollout.step,
        "weight": percent(rollout.weight),
        "revision": rollout.revision,
    }
