"""How well the rollout controller decides, in worlds where the truth is known.

The monitor's own formulas and the registry's own controller, on a virtual clock: false rollbacks
of versions that are the same (A/A), requests until a worse one is taken back, and what happens
when the base rate drifts during the ramp, labels cluster by day or come late, or telemetry is lost.
Beside them two rules that people use: a one-sided z-test (p < 0.05) at every look, and "error rate
more than twice the baseline's".
"""

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from statistics import median
from typing import Any

from scipy.stats import binomtest

from bench.record import record
from bench.rollouts.play import Outcome, play
from bench.rollouts.worlds import World
from registry.domain.plan import GuardPlan, RolloutPlan, StepPlan

ALPHA = 0.05
LOOKS = 60
STEP_LOOKS = 18
"""Bake time of a step: three two-arm steps and the end fit into the looks."""
WORKERS = 2


def plan_for(*, quality: bool, margin: float = 0.0) -> RolloutPlan:
    """The default ladder in minutes; margin 0 makes every false alarm possible that can be."""
    guards = [
        GuardPlan(
            name="error_rate", kind="error_rate", margin=margin, accept=1.0, negligible_rate=0.01
        ),
        GuardPlan(
            name="latency", kind="latency", margin=margin, accept=1.0, negligible_rate=0.01,
            slo_ms=50.0,
        ),
    ]  # fmt: skip
    if quality:
        guards.append(GuardPlan(name="log_loss", kind="log_loss", margin=0.02))
    steps = (0.05, 0.20, 0.50, 1.0)
    return RolloutPlan(
        steps=tuple(StepPlan(weight=w, bake_s=STEP_LOOKS * 60 if w < 1 else 60) for w in steps),
        guards=tuple(guards),
        alpha=ALPHA,
        block_s=300,
    )


SAME = (
    World("A/A, errors 0.1 %", error_rate=0.001),
    World("A/A, errors 1 %", error_rate=0.01),
    World("A/A, errors 5 %", error_rate=0.05),
    World("A/A, errors 1 % → 5 % during the ramp", error_rate=0.01, drift=5.0),
)
SAME_QUALITY = (
    World("A/A, labels independent", labelled=100),
    World("A/A, labels alike within a block", labelled=100, day_spread=0.10),
    World("A/A, labels alike and late", labelled=100, day_spread=0.10, label_delay=15),
)
WORSE = (
    World("errors 1 % → 2 %", error_risk=2.0),
    World("errors 1 % → 5 %", error_risk=5.0),
    World("slow answers 2 % → 6 %", slow_risk=3.0),
)
WORSE_QUALITY = (
    World("log-loss +0.20", labelled=100, loss_shift=0.20),
    World("log-loss +0.20, labels late", labelled=100, loss_shift=0.20, label_delay=15),
)
LOST = (
    World("10 % of the canary's telemetry lost", lost_share=0.10),
    World("30 % of the canary's telemetry lost", lost_share=0.30),
)


def main(*, quick: bool) -> None:
    """Play every world, print and keep the tables."""
    runs, few = (40, 10) if quick else (2000, 300)
    plain, quality = plan_for(quality=False), plan_for(quality=True)
    with ProcessPoolExecutor(WORKERS) as pool:
        same = [_row_same(world, _play(pool, world, plain, runs)) for world in SAME]
        same += [_row_same(world, _play(pool, world, quality, few)) for world in SAME_QUALITY]
        worse = [_row_worse(world, _play(pool, world, plain, few)) for world in WORSE]
        worse += [_row_worse(world, _play(pool, world, quality, few)) for world in WORSE_QUALITY]
        lost = [_row_lost(world, _play(pool, world, plain, few)) for world in LOST]
    record(
        "rollout_simulation",
        quick=quick,
        figures={"alpha": ALPHA, "looks": LOOKS, "runs": runs, "runs_power": few},
        tables={
            "Versions that are the same: false rollbacks": same,
            "Versions that are worse: taken back after how many requests of the canary": worse,
            "Lost telemetry": lost,
        },
        notes=(
            f"{LOOKS} looks, 1,000 users a look, steps of {STEP_LOOKS} looks at 5, 20 and 50 %.",
            f"α = {ALPHA} over all guards; margins 0 for errors and latency, 0.02 for log-loss.",
            "Intervals are Clopper-Pearson, 95 %.",
            "The naive rules look at errors only, pooled over the steps, as they are used.",
        ),
    )
    level = [row for row in same if row["above α"] == "yes"]
    assert not level, f"the controller's false rollback rate is above α: {level}"


def _play(
    pool: ProcessPoolExecutor, world: World, plan: RolloutPlan, runs: int
) -> Sequence[Outcome]:
    one = partial(play, world, plan, looks=LOOKS)
    return list(pool.map(one, range(runs), chunksize=5))


def _row_same(world: World, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    runs = len(outcomes)
    false = sum(one.ended == "rolled_back" for one in outcomes)
    low, high = binomtest(false, runs).proportion_ci()
    return {
        "world": world.name,
        "runs": runs,
        "false rollbacks": f"{false / runs:.2%} [{low:.2%}, {high:.2%}]",
        # The true rate is surely above α only when the whole interval is.
        "above α": "yes" if low > ALPHA else "no",
        "z-test at every look": f"{_share(outcomes, 'naive_z'):.1%}",
        "twice the baseline": f"{_share(outcomes, 'naive_ratio'):.1%}",
        "reached 100 %": f"{sum(one.weight == 1.0 for one in outcomes) / runs:.1%}",
    }


def _row_worse(world: World, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    caught = [one.canary_requests for one in outcomes if one.ended == "rolled_back"]
    z = [one.naive_z for one in outcomes if one.naive_z is not None]
    twice = [one.naive_ratio for one in outcomes if one.naive_ratio is not None]
    return {
        "world": world.name,
        "runs": len(outcomes),
        "taken back": f"{len(caught) / len(outcomes):.1%}",
        "median canary requests": median(caught) if caught else "-",
        "z-test": f"{median(z):,.0f} ({len(z) / len(outcomes):.0%})" if z else "never",
        "twice": f"{median(twice):,.0f} ({len(twice) / len(outcomes):.0%})" if twice else "never",
        "reached 100 %": f"{sum(one.weight == 1.0 for one in outcomes) / len(outcomes):.1%}",
    }


def _row_lost(world: World, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    runs = len(outcomes)
    held = sum(o.reason == "sample_ratio" for o in outcomes)
    return {
        "world": world.name,
        "runs": runs,
        "held for the sample ratio": f"{held / runs:.1%}",
        "rolled back": f"{sum(o.ended == 'rolled_back' for o in outcomes) / runs:.1%}",
        "reached 100 %": f"{sum(o.weight == 1.0 for o in outcomes) / runs:.1%}",
    }


def _share(outcomes: Sequence[Outcome], rule: str) -> float:
    return sum(getattr(one, rule) is not None for one in outcomes) / len(outcomes)
