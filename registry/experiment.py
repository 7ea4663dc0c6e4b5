"""Experiment: n arms by sticky hash, looked at at any time, never a winner before there is one."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from contracts.evidence import Evidence, EvidenceQuery, StepWindow
from contracts.identity import Caller
from contracts.problems import ProblemCode
from kit.clock import Clock
from kit.problems import Problem
from registry.domain.audit import Act
from registry.domain.experiment import (
    ArmPlan,
    Comparison,
    Experiment,
    ExperimentPlan,
    compare,
    mismatch_of,
)
from registry.domain.numbers import numbers_in
from registry.domain.readiness import Fleet
from registry.domain.traffic import only, production_of, with_arms, with_warm, without
from registry.ports import Announce, EvidenceSource, Ledger, Once, Transaction
from registry.preconditions import (
    Expected,
    advice_on_callers,
    known_experiment,
    known_version,
    permit,
    refuse_other_callers,
    refuse_unjudged,
    refuse_while_rolling_out,
)

LEASE = "experiments"
RATIO_ALPHA = 0.01


@dataclass(frozen=True, slots=True)
class Experiments:
    """Starts, judges and stops experiments; ``__call__`` is run again and again."""

    ledger: Ledger
    evidence: EvidenceSource
    announce: Announce
    clock: Clock
    new_salt: Callable[[], str]
    holder: str
    lease_s: float
    live_s: float

    async def start(
        self,
        model: str,
        plan: ExperimentPlan,
        reason: str,
        caller: Caller,
        *,
        once: Once | None = None,
        dry_run: bool = False,
    ) -> dict[str, Any]:
        """The arms are loaded first; then they take their shares. Raises ``Problem``."""
        await permit(self.ledger, caller, "registry:promote", "experiment.start", model)
        answer = await self.ledger.write_once(
            once, lambda tx: self._start(tx, model, plan, reason, caller), dry_run=dry_run
        )
        self.announce()
        return answer

    async def stop(
        self,
        experiment_id: str,
        reason: str,
        caller: Caller,
        expected: Expected,
        *,
        once: Once | None = None,
        dry_run: bool = False,
    ) -> dict[str, Any]:
        """All traffic back to the control; a winner goes on by a rollout. Raises ``Problem``."""
        await permit(self.ledger, caller, "registry:promote", "experiment.stop", experiment_id)

        def work(tx: Transaction) -> dict[str, Any]:
            experiment = known_experiment(tx, experiment_id)
            expected.check(experiment.revision, {"status": experiment.status})
            if experiment.status == "stopped":
                raise Problem(ProblemCode.CONFLICT, "The experiment is stopped already.")
            return _stop(tx, experiment, reason, caller.principal).model_dump(mode="json")

        answer = await self.ledger.write_once(once, work, dry_run=dry_run)
        self.announce()
        return answer

    async def page(self, experiment_id: str) -> Experiment:
        """One experiment. Raises ``Problem``."""
        return await self.ledger.read(lambda tx: known_experiment(tx, experiment_id))

    async def pages(self, model: str | None) -> list[Experiment]:
        """All, oldest first."""
        return await self.ledger.read(lambda tx: tx.experiments(model))

    async def __call__(self) -> None:
        """Look at every experiment once; does nothing while another copy holds the lease."""
        under_way = [one for one in await self.pages(None) if one.status != "stopped"]
        if not under_way:
            return
        if not await self.ledger.write(lambda tx: tx.take_lease(LEASE, self.holder, self.lease_s)):
            return
        for experiment in under_way:
            if experiment.status == "warming":
                await self._open(experiment)
            else:
                await self._judge(experiment)

    def _start(
        self, tx: Transaction, model: str, plan: ExperimentPlan, reason: str, caller: Caller
    ) -> dict[str, Any]:
        control, *others = [known_version(tx, model, arm.version) for arm in plan.arms]
        refuse_while_rolling_out(tx, model)
        route = tx.route(model)
        if route is None or production_of(route) != control.version:
            raise Problem(ProblemCode.CONFLICT, "The first arm is the version in production.")
        for record in others:
            if record.version in route.shadows:
                said = f"Version {record.version} runs in the shadow; move it to candidate first."
                raise Problem(ProblemCode.CONFLICT, said)
            refuse_other_callers(control, record)
            refuse_unjudged(plan.metrics, record)
        earlier = numbers_in(old.id for old in tx.experiments(model))
        experiment = Experiment(
            id=f"ex-{model}-{tx.next_number('experiments', model, earlier)}",
            model=model,
            plan=plan,
            salt=self.new_salt(),
            started_by=caller.principal,
            started_us=tx.now_us(),
            reason=reason,
        )
        for arm in plan.arms[1:]:
            route = with_warm(route, arm.version)
        tx.put_route(model, route)
        tx.put_experiment(experiment)
        tx.record(_act(experiment, "start", caller.principal, reason))
        advice = [text for record in others for text in advice_on_callers(control, record)]
        return experiment.model_dump(mode="json") | {"advice": advice}

    async def _open(self, experiment: Experiment) -> None:
        def work(tx: Transaction) -> bool:
            current, route = tx.experiment(experiment.id), tx.route(experiment.model)
            if current is None or current.revision != experiment.revision or route is None:
                return False
            seen = [(one.report, one.seen_wall_us) for one in tx.replicas()]
            fleet = Fleet.of(seen, tx.wall_us(), self.live_s)
            arms = current.plan.arms
            if not fleet.reports or any(
                fleet.waiting_for(current.model, arm.version) for arm in arms
            ):
                return False
            shares = [(arm.name, arm.version, arm.weight) for arm in arms]
            opened = with_arms(route, shares, salt=current.salt, experiment_id=current.id)
            tx.put_route(current.model, opened)
            running = current.changed(status="running", running_us=tx.now_us())
            tx.put_experiment(running)
            tx.record(_act(running, "open", "controller", "every live replica has every arm"))
            return True

        if await self.ledger.write(work):
            self.announce()

    async def _judge(self, experiment: Experiment) -> None:
        found = [(arm, await self._ask(experiment, arm)) for arm in experiment.plan.arms[1:]]
        known = [(arm, evidence) for arm, evidence in found if evidence is not None]
        if not known:
            return
        plan = experiment.plan
        comparisons = [one for arm, seen in known for one in compare(plan, arm, seen)]
        mismatch = next((text for _, seen in known if (text := mismatch_of(seen, RATIO_ALPHA))), "")
        harm = "" if mismatch else _harm(plan, comparisons)

        def work(tx: Transaction) -> None:
            current = tx.experiment(experiment.id)
            if current is None or current.revision != experiment.revision:
                return
            update = {"comparisons": tuple(comparisons), "mismatch": mismatch}
            judged = current.model_copy(update=update)
            tx.put_experiment(judged)
            if harm:
                _stop(tx, judged, f"Stopped: {harm}", "controller")

        await self.ledger.write(work)
        if harm:
            self.announce()

    async def _ask(self, experiment: Experiment, arm: ArmPlan) -> Evidence | None:
        control, started = experiment.control, experiment.running_us
        assert started is not None
        share = arm.weight / (arm.weight + control.weight)
        return await self.evidence(
            EvidenceQuery(
                model=experiment.model,
                rollout_id=experiment.id,
                baseline_version=control.version,
                candidate_version=arm.version,
                paired=False,
                steps=(StepWindow(step=0, weight=share, from_us=started),),
                guards=experiment.plan.specs(),
                block_s=experiment.plan.block_s,
            )
        )


def _harm(plan: ExperimentPlan, comparisons: list[Comparison]) -> str:
    """The sentence of the first breached guard; signals never stop an experiment."""
    guards = {metric.name for metric in plan.metrics if metric.role == "guard"}
    threshold = math.log(1 / plan.metric_alpha)
    return next(
        (
            one.sentence
            for one in comparisons
            if one.metric in guards and one.evidence and one.evidence.log_e >= threshold
        ),
        "",
    )


def _stop(tx: Transaction, experiment: Experiment, reason: str, actor: str) -> Experiment:
    route = tx.route(experiment.model)
    assert route is not None
    control = experiment.control.version
    after = only(control, route.warm, route.shadows)
    # A version that a rollout replaced stays loaded for its time: it may have to come back at once.
    replaced = {
        one.baseline for one in tx.rollouts(experiment.model, unsettled=True) if not one.is_active
    }
    for arm in experiment.plan.arms[1:]:
        kept = arm.version in replaced
        after = with_warm(after, arm.version) if kept else without(after, arm.version)
    tx.put_route(experiment.model, after)
    stopped = experiment.changed(status="stopped", stopped_us=tx.now_us(), reason=reason)
    tx.put_experiment(stopped)
    tx.record(_act(stopped, "stop", actor, reason))
    return stopped


def _act(experiment: Experiment, deed: str, actor: str, reason: str) -> Act:
    return Act(
        actor=actor,
        action=f"experiment.{deed}",
        model=experiment.model,
        subject=experiment.id,
        reason=reason,
        after={
            "status": experiment.status,
            "arms": {arm.name: [arm.version, arm.weight] for arm in experiment.plan.arms},
        },
        evidence={"findings": [one.sentence for one in experiment.comparisons]},
    )
