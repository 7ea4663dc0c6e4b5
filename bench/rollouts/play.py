"""One rollout on a virtual clock: a world's events, the monitor's formulas, the real controller."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bench.rollouts.worlds import BLOCK_LOOKS, Draws, Minute, World
from contracts.evidence import ArmCount, Evidence, GuardEvidence, GuardSpec
from monitor.domain.clusters import Cells
from monitor.domain.rollout_evidence import weigh_guard, weigh_ratio
from monitor.domain.sequential import Exposures, risk_interval, risk_log_e
from registry.domain.controller import READY, decide
from registry.domain.plan import RolloutPlan
from registry.domain.rollout import Rollout
from registry.domain.verdict import Kind

MINUTE_US = 60_000_000
_COUNTED = ("shown", "errors", "slow")
Ints = npt.NDArray[np.int64]


@dataclass(slots=True)
class Outcome:
    """How one rollout went, and what two naive rules would have done on the same events."""

    ended: str = "undecided"
    """``rolled_back``, ``promoted`` or ``undecided``."""
    reason: str = ""
    canary_requests: int = 0
    """The candidate's requests when it ended."""
    weight: float = 0.0
    """The share it had reached."""
    naive_z: int | None = None
    """Candidate's requests when a z-test at every look first cried; None: never."""
    naive_ratio: int | None = None
    """The same for "error rate more than twice the baseline's"."""


class Tape:
    """What the monitor would have stored, summed by step and time block as it sums it."""

    def __init__(self, looks: int) -> None:
        self.looks = 0
        self.minutes: list[Minute] = []
        self.steps: list[int] = []
        self.by_step: dict[float, Ints] = {}
        """Users shown, (baseline, candidate), at each weight."""
        self._groups = 0
        self._last: tuple[int, int] | None = None
        self._counts = {name: np.zeros((looks, 2), np.int64) for name in _COUNTED}

    def append(self, minute: Minute, step: int, weight: float) -> None:
        """One more look."""
        group = (step, self.looks // BLOCK_LOOKS)
        if group != self._last:
            self._groups, self._last = self._groups + 1, group
        self.minutes.append(minute)
        self.steps.append(step)
        for name in _COUNTED:
            self._counts[name][self._groups - 1] += getattr(minute, name)
        shown = self.by_step.setdefault(weight, np.zeros(2, np.int64))
        shown += minute.shown
        self.looks += 1

    def exposures(self, what: str) -> Exposures:
        """Bad outcomes by step and block, with the realised share of the candidate."""
        shown, bad = self._counts["shown"][: self._groups], self._counts[what][: self._groups]
        telling = (shown > 0).all(axis=1)
        shown, bad = shown[telling], bad[telling]
        return Exposures(shown[:, 1] / shown.sum(axis=1), bad[:, 1], bad[:, 0])

    def sums(self, what: str) -> tuple[int, int]:
        """Totals of (baseline, candidate)."""
        total = self._counts[what][: self._groups].sum(axis=0)
        return int(total[0]), int(total[1])

    def labelled(self, delay: int) -> Cells:
        """The losses that are known by now, one cell a user."""
        parts = [
            (self.steps[look], look // BLOCK_LOOKS, arm, minute.losses[arm])
            for look, minute in enumerate(self.minutes[: max(0, self.looks - delay)])
            for arm in (0, 1)
        ]
        sizes = [len(values) for *_, values in parts]
        total = np.concatenate([values for *_, values in parts]) if parts else np.empty(0)

        def spread(at: int) -> Ints:
            return np.repeat(np.array([part[at] for part in parts], dtype=np.int64), sizes)

        return Cells(
            step=spread(0),
            block=spread(1),
            unit=np.arange(len(total)),
            candidate=spread(2).astype(bool),
            rows=np.ones(len(total), dtype=np.int64),
            total=total,
        )


def play(world: World, plan: RolloutPlan, seed: int, looks: int) -> Outcome:
    """Play a rollout to its end, or for so many looks."""
    draws, tape, outcome = Draws(world, seed, looks), Tape(looks), Outcome()
    rollout = Rollout(
        id="ro", model="m", candidate="2", baseline="1", attempt=1, salt="s", plan=plan,
        started_by="bench", started_us=0, since_us=0,
    ).entered(1, 0)  # fmt: skip
    for look in range(looks):
        if rollout.weight < 1.0:
            tape.append(draws.minute(look, rollout.weight), rollout.step, rollout.weight)
        now_us = (look + 1) * MINUTE_US
        _ask_naive_rules(tape, outcome)
        evidence = weigh(world, tape, rollout, now_us)
        verdict = decide(rollout, evidence, READY, now_us)
        rollout = rollout.judged(verdict, evidence)
        outcome.weight = rollout.weight
        outcome.canary_requests = tape.sums("shown")[1]
        outcome.reason = verdict.reason
        if verdict.kind in (Kind.ROLL_BACK, Kind.HALT):
            outcome.ended = "rolled_back"
            return outcome
        if verdict.kind is Kind.PROMOTE:
            if rollout.next_step is None:
                outcome.ended = "promoted"
                return outcome
            rollout = rollout.entered(rollout.step + 1, now_us)
    return outcome


def weigh(world: World, tape: Tape, rollout: Rollout, now_us: int) -> Evidence:
    """The evidence of this look, by the formulas that the monitor answers with."""
    shown, errors = tape.sums("shown"), tape.sums("errors")
    following, present = rollout.next_step, rollout.plan_step
    gate = following is not None and following.weight >= rollout.plan.noninferior_from
    gate = gate and present is not None and now_us - rollout.since_us >= present.bake_s * 1e6
    return Evidence(
        model="m",
        rollout_id="ro",
        as_of_us=now_us,
        lag_s=0.0,
        arms=tuple(
            ArmCount(
                version=version, requests=shown[arm], units=shown[arm], errors=errors[arm],
                intended_share=rollout.weight if arm else 1 - rollout.weight,
            )
            for arm, version in enumerate(("1", "2"))
        ),
        sample_ratio=weigh_ratio(
            [tuple(shown) for shown in tape.by_step.values()],
            [(1 - weight, weight) for weight in tape.by_step],
        ),
        guards=tuple(_guard(world, tape, spec, gate) for spec in rollout.plan.specs()),
    )  # fmt: skip


def _guard(world: World, tape: Tape, spec: GuardSpec, gate: bool) -> GuardEvidence:
    if spec.kind == "log_loss":
        return weigh_guard(spec, tape.labelled(world.label_delay))
    # One request a user, so the users' first bad outcomes are the counts themselves.
    what = "errors" if spec.kind == "error_rate" else "slow"
    exposures, shown, bad = tape.exposures(what), tape.sums("shown"), tape.sums(what)
    interval: tuple[float | None, float | None, float | None] = (None, None, None)
    if gate:  # only there is it read, and it costs ten times the e-value
        ratio, low, high = risk_interval(exposures, spec.alpha)
        interval = (ratio - 1, low - 1, high - 1)
    return GuardEvidence(
        name=spec.name,
        n_baseline=shown[0],
        n_candidate=shown[1],
        blocks=tape.looks,
        baseline_value=bad[0] / max(1, shown[0]),
        candidate_value=bad[1] / max(1, shown[1]),
        estimate=interval[0],
        low=interval[1],
        high=interval[2],
        log_e=risk_log_e(exposures, spec.margin),
    )


def _ask_naive_rules(tape: Tape, outcome: Outcome) -> None:
    """Pooled over everything so far, as they are used in practice."""
    shown, errors = tape.sums("shown"), tape.sums("errors")
    if min(shown) == 0:
        return
    rates = [errors[arm] / shown[arm] for arm in (0, 1)]
    pooled = sum(errors) / sum(shown)
    spread = (pooled * (1 - pooled) * (1 / shown[0] + 1 / shown[1])) ** 0.5
    if outcome.naive_z is None and spread > 0 and (rates[1] - rates[0]) / spread > 1.645:
        outcome.naive_z = shown[1]
    if outcome.naive_ratio is None and errors[1] > 0 and rates[1] > 2 * rates[0]:
        outcome.naive_ratio = shown[1]
