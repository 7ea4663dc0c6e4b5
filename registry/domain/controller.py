"""The rollout controller: from a plan, a position, evidence and the time to one verdict.

A pure function, so that a simulation can ask it a million times. What can do harm comes first:
breakers, then comparisons that are not valid, then guards; only then what is still missing. It may
be asked at any moment and as often as one likes: the guards' e-values allow that (Ville).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from contracts.evidence import ArmCount, Evidence, GuardEvidence
from registry.domain.acceptance import is_acceptable
from registry.domain.plan import LABEL_KINDS, GuardPlan
from registry.domain.rollout import Rollout, percent
from registry.domain.sentences import basis_of, blocks, duration, effect_of, harm_of, limit_of
from registry.domain.verdict import Kind, Reason, Verdict


@dataclass(frozen=True, slots=True)
class Loading:
    """What the replicas say of the candidate."""

    live: int
    waiting: tuple[str, ...] = ()
    """Live replicas on which it is not ready."""
    failures: tuple[str, ...] = ()


READY = Loading(live=1)


def decide(rollout: Rollout, evidence: Evidence | None, loading: Loading, now_us: int) -> Verdict:
    """The verdict of this moment. ``evidence`` is None when the monitor does not answer."""
    assert rollout.is_active
    if (stop := _breaker(rollout, evidence, loading)) is not None:
        return stop
    if rollout.status == "warming":
        held = _hold_for_loading(loading) or _unapproved(rollout)
        return held or _go(rollout, "every live replica has it loaded")
    if rollout.plan.guards and evidence is None:
        return _hold("monitor_away", "the monitor does not answer; weights stay as they are")
    if evidence is not None:
        stop = _invalid(rollout, evidence) or _harm(rollout, evidence)
        if stop is not None:
            return stop
    if rollout.status == "paused":
        return _hold("paused", "a person paused the rollout")
    missing = [*_unfinished(rollout, evidence, loading, now_us)]
    if missing:
        return _timed_out(rollout, now_us, missing[0]) or _joined(missing)
    return _go(rollout, _passed(rollout, evidence))


# What stops at once, without statistics


def _breaker(rollout: Rollout, evidence: Evidence | None, loading: Loading) -> Verdict | None:
    plan = rollout.plan
    if loading.failures:
        return _stop(rollout, "breaker_load", f"it does not load ({loading.failures[0]})")
    if rollout.crashes >= plan.breaker_crashes:
        return _stop(rollout, "breaker_crash", f"replicas that ran it died {rollout.crashes} times")
    if evidence is None:
        return None
    seen = evidence.breakers
    if seen.nan_answers:
        return _stop(rollout, "breaker_nan", f"{seen.nan_answers:,} answers were not numbers")
    enough = seen.candidate_requests >= plan.breaker_requests_min
    if enough and seen.candidate_errors >= plan.breaker_error_share * seen.candidate_requests:
        return _stop(
            rollout,
            "breaker_errors",
            f"{seen.candidate_errors:,} of the last {seen.candidate_requests:,} "
            "requests of the new version failed",
        )
    return None


# What makes the comparison worthless, or shows harm


def _invalid(rollout: Rollout, evidence: Evidence) -> Verdict | None:
    ratio = evidence.sample_ratio
    if ratio is not None and ratio.log_e >= math.log(1 / rollout.plan.ratio_alpha):
        seen = " : ".join(f"{count:,}" for count in ratio.observed)
        wanted = " : ".join(percent(round(share, 4)) for share in ratio.intended)
        return _hold(
            "sample_ratio",
            f"units fall on the arms as {seen} where {wanted} were intended; "
            "the arms cannot be compared",
        )
    if evidence.multiple_exposure_share > rollout.plan.multiple_exposure_max:
        return _hold(
            "multiple_exposure",
            f"{percent(round(evidence.multiple_exposure_share, 4))} of the units saw both "
            "versions; the arms cannot be compared",
        )
    return None


def _harm(rollout: Rollout, evidence: Evidence) -> Verdict | None:
    for guard, found in _paired(rollout, evidence):
        if guard.role == "guard" and _is_breached(rollout, found):
            basis = basis_of(guard, found, rollout.plan.block_s)
            return _stop(rollout, "guard", f"{harm_of(guard, found)} {basis}", guard.name)
    return None


def _is_breached(rollout: Rollout, found: GuardEvidence) -> bool:
    return found.log_e >= math.log(1 / rollout.plan.guard_alpha)


# What is still missing


def _unfinished(
    rollout: Rollout, evidence: Evidence | None, loading: Loading, now_us: int
) -> Iterator[Verdict]:
    if (held := _hold_for_loading(loading)) is not None:
        yield held
    if evidence is not None:
        yield from _telemetry(rollout, evidence)
        yield from _signals(rollout, evidence)
    yield from _bake(rollout, now_us)
    if evidence is not None:
        yield from _amounts(rollout, evidence)
        yield from _inferior(rollout, evidence)
    # A person is asked last, with everything else already shown.
    if (unapproved := _unapproved(rollout)) is not None:
        yield unapproved


def _unapproved(rollout: Rollout) -> Verdict | None:
    following = rollout.next_step
    if following is None or (rollout.status == "warming" and rollout.plan.shadow is not None):
        return None
    if following.weight in rollout.plan.approvals and following.weight not in rollout.approved:
        return _hold("approval", f"a person has to approve {percent(following.weight)}")
    return None


def _hold_for_loading(loading: Loading) -> Verdict | None:
    if loading.live == 0:
        return _hold("not_ready", "no inference replica reports")
    if loading.waiting:
        names = ", ".join(loading.waiting[:3])
        return _hold(
            "not_ready",
            f"not loaded yet on {len(loading.waiting)} of {loading.live} replicas ({names})",
        )
    return None


def _telemetry(rollout: Rollout, evidence: Evidence) -> Iterator[Verdict]:
    if evidence.lag_s > rollout.plan.lag_s_max:
        yield _hold("lag", f"the monitor is {duration(evidence.lag_s)} behind the log")
    if rollout.gaps_known is not None and evidence.gaps > rollout.gaps_known:
        lost = evidence.gaps - rollout.gaps_known
        yield _hold("gaps", f"{lost:,} records of the log are lost; a person has to resume")
    for guard, found in _paired(rollout, evidence):
        if found.coverage_baseline is None or found.coverage_candidate is None:
            continue
        if abs(found.coverage_candidate - found.coverage_baseline) > rollout.plan.coverage_gap_max:
            yield _hold(
                "coverage",
                f"{guard.name}: {percent(round(found.coverage_candidate, 3))} of the new "
                f"version's rows have labels, {percent(round(found.coverage_baseline, 3))} "
                "of the old one's",
            )


def _signals(rollout: Rollout, evidence: Evidence) -> Iterator[Verdict]:
    for guard, found in _paired(rollout, evidence):
        if guard.role == "signal" and _is_breached(rollout, found):
            basis = basis_of(guard, found, rollout.plan.block_s)
            yield _hold("signal", f"{harm_of(guard, found)} {basis}", guard.name)


def _bake(rollout: Rollout, now_us: int) -> Iterator[Verdict]:
    shadow, step = rollout.plan.shadow, rollout.plan_step
    wanted = step.bake_s if step else shadow.bake_s if shadow else 0
    left_s = wanted - max(0, now_us - rollout.since_us) / 1e6
    if left_s > 0:
        yield _hold("bake", f"{duration(left_s)} of {duration(wanted)} left {rollout.place}")


def _amounts(rollout: Rollout, evidence: Evidence) -> Iterator[Verdict]:
    step, shadow = rollout.plan_step, rollout.plan.shadow
    if step is not None:
        seen = _arm(evidence, rollout.candidate)
        if (requests := seen.requests if seen else 0) < step.requests_min:
            yield _hold(
                "samples", f"{requests:,} of {step.requests_min:,} requests of the new version"
            )
        yield from _few_blocks(rollout, evidence, step.blocks_min)
    elif shadow is not None:
        pairs = evidence.pairs.pairs if evidence.pairs else 0
        if pairs < shadow.pairs_min:
            yield _hold("samples", f"{pairs:,} of {shadow.pairs_min:,} pairs")
        yield from _few_blocks(rollout, evidence, shadow.blocks_min)


def _few_blocks(rollout: Rollout, evidence: Evidence, wanted: int) -> Iterator[Verdict]:
    for guard, found in _paired(rollout, evidence):
        if guard.role == "guard" and guard.kind in LABEL_KINDS and found.blocks < wanted:
            needed = blocks(wanted, rollout.plan.block_s)
            yield _hold(
                "blocks", f"{guard.name}: {found.blocks} of {needed} with labels", guard.name
            )


def _inferior(rollout: Rollout, evidence: Evidence) -> Iterator[Verdict]:
    """Before the last steps, and before a shadow may answer: no guard may still be worse."""
    following = rollout.next_step
    leaves_shadow = rollout.is_shadowing
    if following is None:
        return
    if not leaves_shadow and following.weight < rollout.plan.noninferior_from:
        return
    for guard, found in _paired(rollout, evidence):
        if guard.role != "guard" or is_acceptable(guard, found, rollout.plan.guard_alpha):
            continue
        if leaves_shadow and guard.kind == "business":
            continue  # nothing in the business follows from an answer that nobody got
        yield _hold(
            "non_inferiority",
            f"{effect_of(guard, found)} may still be worse than "
            f"{limit_of(guard, guard.limit)} {basis_of(guard, found, rollout.plan.block_s)}",
            guard.name,
        )


def _timed_out(rollout: Rollout, now_us: int, first: Verdict) -> Verdict | None:
    limit_s = rollout.plan.step_s_max
    if limit_s is None or first.reason == "approval" or now_us - rollout.since_us < limit_s * 1e6:
        return None
    return Verdict(
        kind=Kind.HALT,
        reason="timeout",
        sentence=f"Halted {rollout.place}: no decision within {duration(limit_s)}; "
        f"{first.sentence.removeprefix('Held: ')}",
    )


# Words


def _passed(rollout: Rollout, evidence: Evidence | None) -> str:
    seen = _arm(evidence, rollout.candidate) if evidence else None
    if rollout.plan.guards and seen is not None:
        return f"no guard shows harm on {seen.requests:,} requests of the new version"
    if evidence is not None and evidence.pairs is not None:
        return f"no guard shows harm on {evidence.pairs.pairs:,} pairs"
    return "nothing stands against it"


def _go(rollout: Rollout, because: str) -> Verdict:
    sentence = f"Promoted to {rollout.goal}: {because}."
    return Verdict(kind=Kind.PROMOTE, reason="passed", sentence=sentence)


def _stop(rollout: Rollout, reason: Reason, because: str, guard: str = "") -> Verdict:
    """Traffic goes back; where there was none yet, the rollout only ends."""
    kind, word = (Kind.ROLL_BACK, "Rolled back") if rollout.step else (Kind.HALT, "Halted")
    return Verdict(
        kind=kind, reason=reason, sentence=f"{word} {rollout.place}: {because}.", guard=guard
    )


def _hold(reason: Reason, because: str, guard: str = "") -> Verdict:
    return Verdict(
        kind=Kind.HOLD,
        reason=reason,
        sentence=f"Held: {because}.",
        missing=(because,),
        guard=guard,
    )


def _joined(held: list[Verdict]) -> Verdict:
    """The first reason decides how it is counted; all are told."""
    missing = tuple(part for verdict in held for part in verdict.missing)
    sentence = f"Held: {'; '.join(missing[:4])}."
    return held[0].model_copy(update={"missing": missing, "sentence": sentence})


def _paired(rollout: Rollout, evidence: Evidence) -> Iterator[tuple[GuardPlan, GuardEvidence]]:
    """Each guard with its evidence; a guard the monitor says nothing of has none yet."""
    found = {one.name: one for one in evidence.guards}
    for guard in rollout.plan.guards:
        nothing = GuardEvidence(name=guard.name, n_baseline=0, n_candidate=0, blocks=0)
        yield guard, found.get(guard.name, nothing)


def _arm(evidence: Evidence, version: str) -> ArmCount | None:
    return next((arm for arm in evidence.arms if arm.version == version), None)
