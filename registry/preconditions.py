"""What every change checks first: who asks, what was read before, what else is going on."""

from dataclasses import dataclass
from typing import Any

from contracts.identity import Caller
from contracts.manifest import Manifest
from contracts.problems import ProblemCode
from kit.problems import Problem
from registry.domain.audit import Act, BrokenChain
from registry.domain.experiment import Experiment
from registry.domain.rollout import Rollout
from registry.domain.version import VersionRecord
from registry.ports import Ledger, Transaction

MODEL_CHARS_MAX = 63
"""What a model's name may have; who is refused may have named anything."""


@dataclass(frozen=True, slots=True)
class Expected:
    """The revision that a caller read before it decided (``If-Match``); None accepts any."""

    revision: int | None
    fault: Problem | None = None
    """What is wrong with the header; told to those who may do what they ask for."""

    def check(self, current: int, shown: dict[str, Any]) -> None:
        """Raises ``Problem`` with what the state is now when it is not what was read."""
        if self.fault is not None:
            raise self.fault
        if self.revision is not None and self.revision != current:
            raise Problem(
                ProblemCode.CONFLICT,
                f"The state has changed since it was read: revision {self.revision} was "
                f"expected, {current} is current.",
                expected_revision=self.revision,
                current=shown,
            )


async def permit(ledger: Ledger, caller: Caller, scope: str, action: str, subject: str) -> None:
    """Raises ``Problem`` unless the caller holds ``scope``; the attempt is in the audit log."""
    if caller.may(scope):
        return

    def keep(tx: Transaction) -> None:
        known = tx.rollout(subject) or tx.experiment(subject)
        act = Act(
            actor=caller.principal,
            action=f"{action}_refused",
            model=known.model if known else subject.partition("/")[0][:MODEL_CHARS_MAX],
            subject=subject,
            reason=f"lacks the scope {scope}",
        )
        tx.record(act)

    await ledger.write(keep)
    raise Problem(ProblemCode.FORBIDDEN, f"This needs the scope {scope}.")


def known_version(tx: Transaction, model: str, version: str) -> VersionRecord:
    """The version. Raises ``Problem`` when there is none."""
    record = tx.version(model, version)
    if record is None:
        raise Problem(ProblemCode.NOT_FOUND, "There is no such version.")
    return record


def known_rollout(tx: Transaction, rollout_id: str) -> Rollout:
    """The rollout. Raises ``Problem`` when there is none."""
    rollout = tx.rollout(rollout_id)
    if rollout is None:
        raise Problem(ProblemCode.NOT_FOUND, "There is no such rollout.")
    return rollout


def known_experiment(tx: Transaction, experiment_id: str) -> Experiment:
    """The experiment. Raises ``Problem`` when there is none."""
    experiment = tx.experiment(experiment_id)
    if experiment is None:
        raise Problem(ProblemCode.NOT_FOUND, "There is no such experiment.")
    return experiment


def refuse_while_rolling_out(tx: Transaction, model: str, version: str | None = None) -> None:
    """Raises ``Problem`` while a rollout or an experiment holds the model (or that version)."""
    for rollout in tx.rollouts(model, unsettled=True):
        if rollout.is_active and version in (None, rollout.candidate, rollout.baseline):
            raise Problem(
                ProblemCode.CONFLICT,
                f"The rollout {rollout.id} is under way; pause, abort or finish it.",
                rollout=rollout.id,
            )
    for experiment in tx.experiments(model):
        arms = {arm.version for arm in experiment.plan.arms}
        if experiment.status != "stopped" and (version is None or version in arms):
            raise Problem(
                ProblemCode.CONFLICT,
                f"The experiment {experiment.id} is under way; stop it first.",
                experiment=experiment.id,
            )


def broken_log(broken: BrokenChain) -> Problem:
    """What a reader of the audit log is told when an entry is not what was written."""
    return Problem(
        ProblemCode.CONFLICT,
        f"The audit log is broken: {broken}.",
        broken_at=broken.seq,
        what=str(broken),
    )


def refuse_shadow(manifest: Manifest) -> None:
    """Raise ``Problem`` for a version that would stand in the shadow for ever."""
    if manifest.task == "raw":
        raise Problem(
            ProblemCode.CONFLICT,
            "Shadows score what /predict answers; a version of bare tensors cannot be one.",
        )
