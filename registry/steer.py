"""Steer: the controller looks at every rollout, again and again, and does what its verdict says.

Two copies of the registry never act both: a lease says who looks, and each act is compare-and-set
on the rollout's revision, so that a verdict on a state that is past does nothing.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Any

from contracts.evidence import Evidence, EvidenceQuery
from kit.clock import Clock
from kit.logs import get_logger
from registry.domain.audit import Act
from registry.domain.controller import Loading, decide
from registry.domain.effects import Scene, advanced, cooled, taken_back
from registry.domain.readiness import Fleet
from registry.domain.rollout import Rollout, Status, percent
from registry.domain.verdict import Kind, Verdict
from registry.metrics import DECISIONS, LOG_EVALUE, TRANSITIONS
from registry.ports import Announce, EvidenceSource, Ledger, Transaction

ACTOR = "controller"
LEASE = "controller"
REST = 3
"""A look is followed by a rest of so many times its length: the monitor has other work."""
REST_S_MAX = 10.0
"""After a look that the monitor kept waiting, breakers and harm are seen at most so much later."""

_log = get_logger(__name__)


@dataclass(slots=True)
class Steer:
    """One look at everything that is under way; ``__call__`` is run again and again."""

    ledger: Ledger
    evidence: EvidenceSource
    announce: Announce
    clock: Clock
    holder: str
    lease_s: float
    live_s: float
    _said: dict[str, str] = field(default_factory=dict)
    _rests_until_ns: dict[str, int] = field(default_factory=dict)

    async def __call__(self) -> None:
        """Look once. Does nothing while another copy holds the lease."""
        unsettled = await self.ledger.read(lambda tx: tx.rollouts(unsettled=True))
        if not unsettled:
            return
        if not await self.ledger.write(lambda tx: tx.take_lease(LEASE, self.holder, self.lease_s)):
            return
        # One rollout's slow evidence must not keep another's breaker waiting.
        done = await asyncio.gather(
            *(self._attend(rollout) for rollout in unsettled), return_exceptions=True
        )
        for failure in done:
            if failure is not None:
                raise failure

    async def _attend(self, rollout: Rollout) -> None:
        if not rollout.is_active:
            if self.clock.now_us() >= (rollout.warm_until_us or 0):
                await self._cool(rollout)
            return
        began_ns = self.clock.monotonic_ns()
        if began_ns < self._rests_until_ns.get(rollout.id, 0):
            return
        await self._look(rollout)
        ended_ns = self.clock.monotonic_ns()
        rest_ns = min(REST * (ended_ns - began_ns), int(REST_S_MAX * 1e9))
        self._rests_until_ns[rollout.id] = ended_ns + rest_ns

    async def _look(self, rollout: Rollout) -> None:
        loading = await self.ledger.read(lambda tx: self._loading(tx, rollout))
        evidence = await self._ask(rollout)
        verdict = decide(rollout, evidence, loading, self.clock.now_us())
        self._count(rollout, verdict, evidence)
        acted = await self.ledger.write(lambda tx: self._do(tx, rollout, verdict, evidence))
        if acted:
            self.announce()
            _log.info("rollout_decided", rollout=rollout.id, sentence=verdict.sentence)

    def _loading(self, tx: Transaction, rollout: Rollout) -> Loading:
        seen = [(one.report, one.seen_wall_us) for one in tx.replicas()]
        fleet = Fleet.of(seen, tx.wall_us(), self.live_s)
        return Loading(
            live=len(fleet.reports),
            waiting=fleet.waiting_for(rollout.model, rollout.candidate),
            failures=fleet.failures(rollout.model, rollout.candidate),
        )

    async def _ask(self, rollout: Rollout) -> Evidence | None:
        specs, windows = rollout.plan.specs(), rollout.windows_asked()
        if not specs or not windows:
            return None
        return await self.evidence(
            EvidenceQuery(
                model=rollout.model,
                rollout_id=rollout.id,
                baseline_version=rollout.baseline,
                candidate_version=rollout.candidate,
                paired=rollout.step == 0,
                steps=windows,
                guards=specs,
                block_s=rollout.plan.block_s,
            )
        )

    def _do(
        self, tx: Transaction, rollout: Rollout, verdict: Verdict, evidence: Evidence | None
    ) -> bool:
        current = tx.rollout(rollout.id)
        if current is None or current.revision != rollout.revision:
            return False  # somebody was faster; the next look sees what is now
        judged = current.judged(verdict, evidence)
        before = tx.scene(judged)
        if verdict.kind is Kind.HOLD:
            tx.put_rollout(judged)
            self._note(tx, judged, verdict)
            return False
        after = _after(before, verdict, tx.now_us())
        tx.settle(before, after, _act(before.rollout, after.rollout, verdict, evidence))
        self._note(tx, judged, verdict)
        return True

    def _note(self, tx: Transaction, rollout: Rollout, verdict: Verdict) -> None:
        """Keep a verdict that says something new; a countdown alone is nothing new."""
        new = f"{rollout.step} {verdict.kind} {verdict.reason} {verdict.guard}"
        if self._said.get(rollout.id) != new:
            self._said[rollout.id] = new
            tx.add_decision(rollout.id, verdict)

    async def _cool(self, rollout: Rollout) -> None:
        def work(tx: Transaction) -> None:
            current = tx.rollout(rollout.id)
            if current is None or current.revision != rollout.revision or _needed(tx, current):
                return
            before = tx.scene(current)
            act = Act(
                actor=ACTOR,
                action="rollout.cooled",
                model=rollout.model,
                subject=rollout.id,
                reason=f"version {rollout.baseline} need not stay loaded any more",
            )
            tx.settle(before, cooled(before), act)

        await self.ledger.write(work)
        self.announce()

    def _count(self, rollout: Rollout, verdict: Verdict, evidence: Evidence | None) -> None:
        DECISIONS.labels(verdict.kind.value, verdict.reason).inc()
        for guard in evidence.guards if evidence else ():
            LOG_EVALUE.labels(rollout.model, guard.name).set(guard.log_e)


def _needed(tx: Transaction, settled: Rollout) -> bool:
    """Whether something under way has its own use for the version that a rollout replaced."""
    rollouts = [one for one in tx.rollouts(settled.model, unsettled=True) if one.is_active]
    used = {version for one in rollouts for version in (one.candidate, one.baseline)}
    for experiment in tx.experiments(settled.model):
        if experiment.status != "stopped":
            used |= {arm.version for arm in experiment.plan.arms}
    return settled.baseline in used


def _after(before: Scene, verdict: Verdict, now_us: int) -> Scene:
    if verdict.kind is Kind.PROMOTE:
        after = advanced(before, now_us, verdict.sentence)
    else:
        status: Status = "rolled_back" if verdict.kind is Kind.ROLL_BACK else "halted"
        after = taken_back(before, status, now_us, verdict.sentence)
    TRANSITIONS.labels(after.candidate.state.value).inc()
    return after


def _act(before: Rollout, after: Rollout, verdict: Verdict, evidence: Evidence | None) -> Act:
    """The audit entry of a verdict that was carried out."""

    def brief(rollout: Rollout) -> dict[str, Any]:
        return {
            "candidate": rollout.candidate,
            "baseline": rollout.baseline,
            "status": rollout.status,
            "step": rollout.step,
            "weight": percent(rollout.weight),
            "revision": rollout.revision,
        }

    return Act(
        actor=ACTOR,
        action=f"rollout.{verdict.kind.value}",
        model=after.model,
        subject=after.id,
        reason=verdict.sentence,
        before=brief(before),
        after=brief(after),
        evidence=None if evidence is None else evidence.model_dump(mode="json"),
    )
