"""What every change checks first: who asks, what was read before, what else is going on."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from contracts.identity import Caller
from contracts.manifest import Manifest
from contracts.problems import ProblemCode
from kit.problems import Problem
from registry.domain.audit import Act, BrokenChain
from registry.domain.experiment import Experiment
from registry.domain.plan import GuardPlan, judged_kinds
from registry.domain.rollout import Rollout
from registry.domain.signature import broken
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
        versions = known_versions(tx, model)
        newest = f"the newest of {model} is {versions[-1].version}"
        raise Problem(ProblemCode.NOT_FOUND, f"There is no such version; {newest}.")
    return record


def known_versions(tx: Transaction, model: str) -> list[VersionRecord]:
    """The model's versions, oldest first. Raises ``Problem`` when there is no such model."""
    versions = tx.versions(model)
    if not versions:
        raise Problem(ProblemCode.NOT_FOUND, "There is no such model.")
    return versions


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
                f"The rollout {rollout.id} is under way; abort or finish it.",
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


def refuse_unjudged(guards: Iterable[GuardPlan], record: VersionRecord) -> None:
    """Raise ``Problem`` where a guard or metric would wait for evidence that cannot come."""
    task, classes = record.manifest.task, record.classes
    judged = judged_kinds(task, classes)
    what = f"{classes} classes" if classes > 2 else {"raw": "bare tensors"}.get(task, task)
    for guard in guards:
        if guard.kind not in judged:
            raise Problem(
                ProblemCode.INVALID_INPUT,
                f"What a version of {what} answers cannot be held to {guard.kind}; it can be to "
                f"{', '.join(sorted(judged))}.",
            )


def refuse_other_callers(serving: VersionRecord, version: VersionRecord) -> None:
    """Raise ``Problem`` where callers of the version that serves could not call the other."""
    before, after = serving.manifest.task, version.manifest.task
    faults = [] if before == after else [f"its task is {after}, not {before}"]
    if before == after == "raw" and serving.signature and version.signature:
        faults = broken(serving.signature, version.signature)
    if faults:
        raise Problem(
            ProblemCode.CONFLICT,
            f"Callers of version {serving.version} could not call version {version.version}: "
            f"{'; '.join(faults[:3])}. Publish it as another model; or archive version "
            f"{serving.version}, and move version {version.version} to production.",
            faults=faults,
        )


def advice_on_callers(serving: VersionRecord, version: VersionRecord) -> list[str]:
    """What callers have to send for a version of features, and need not for the one that serves."""
    sent, fields = serving.manifest.request_fields, version.manifest.request_fields
    known = {*serving.manifest.entity_keys, *sent}
    more = [name for name in version.manifest.entity_keys if name not in known]
    more += [
        f"{name} ({dtype})"
        for name, dtype in fields.items()
        if name not in known or not _holds(sent.get(name, dtype), dtype)
    ]
    text = (
        f"version {version.version} needs of its callers what version {serving.version} does not: "
        f"{', '.join(more)}; who does not send that is refused with 422"
    )
    return [text] if more else []


def _holds(sent: str, dtype: str) -> bool:
    """Whether a field of that dtype takes whatever one of the other took."""
    return dtype in (sent, *_WIDER.get(sent, ()))


_WIDER = {
    "int32": ("int64", "float32", "float64"),
    "int64": ("float32", "float64"),
    "float32": ("float64",),
    "timestamp": ("string",),
}


def refuse_shadow(manifest: Manifest) -> None:
    """Raise ``Problem`` for a version that would stand in the shadow for ever."""
    if manifest.task == "raw":
        raise Problem(
            ProblemCode.CONFLICT,
            "Shadows score what /predict answers; a version of bare tensors cannot be one.",
        )
