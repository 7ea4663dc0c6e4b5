"""Experiments: shares, findings, and no winner before there is one."""

import math
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from contracts.evidence import ArmCount
from kit.clock import FakeClock
from kit.problems import Problem
from registry.domain.experiment import ExperimentPlan, compare
from registry.domain.lifecycle import State
from registry.domain.plan import GuardPlan
from registry.experiment import Experiments
from registry.preconditions import Expected
from tests.registry.scenes import ANN, Desk, evidence, found, mismatch

CLICKS = GuardPlan(
    name="clicks", kind="business", metric="click", direction="lower_is_worse", margin=0.01
)
ERRORS = GuardPlan(name="error_rate", kind="error_rate", margin=0.25)
PLAN = ExperimentPlan.model_validate(
    {
        "arms": [
            {"name": "control", "version": "1", "weight": 0.5},
            {"name": "new", "version": "2", "weight": 0.5},
        ],
        "metrics": [CLICKS.model_dump(), ERRORS.model_dump()],
    }
)
ANY = Expected(None)


@pytest.fixture
async def desk(tmp_path: Path, fake_clock: FakeClock) -> AsyncIterator[Desk]:
    async with Desk(tmp_path, fake_clock) as desk:
        yield desk


def experiments(desk: Desk) -> Experiments:
    return Experiments(
        desk.ledger, desk.monitor, lambda: None, desk.clock, lambda: "salt", "copy", 10.0, 10.0
    )


async def test_arms_take_traffic_only_when_all_are_loaded_and_then_exactly_their_shares(
    desk: Desk,
) -> None:
    verb = experiments(desk)
    await verb.start("delay", PLAN, "which is better?", ANN)
    await verb()
    assert [arm.weight for arm in (await desk.route()).arms] == [1.0]
    await desk.report("1", "2")
    await verb()
    route = await desk.route()
    assert [(arm.name, arm.variant, arm.weight) for arm in route.arms] == [
        ("control", "production", 0.5),
        ("new", "arm", 0.5),
    ]
    assert route.experiment_id == route.rollout_id == "ex-delay-1"


async def test_a_version_in_the_shadow_is_no_arm(desk: Desk) -> None:
    await desk.move("2", State.SHADOW)
    with pytest.raises(Problem, match="Version 2 runs in the shadow; move it to candidate first"):
        await experiments(desk).start("delay", PLAN, "which is better?", ANN)
    await desk.move("2", State.CANDIDATE)
    await experiments(desk).start("delay", PLAN, "which is better?", ANN)


async def test_the_control_of_an_experiment_is_not_retired(desk: Desk) -> None:
    await experiments(desk).start("delay", PLAN, "which is better?", ANN)
    with pytest.raises(Problem, match="ex-delay-1 is under way; stop it first"):
        await desk.move("1", State.ARCHIVED)
    assert [arm.weight for arm in (await desk.route()).arms] == [1.0]


async def test_harm_on_a_guard_stops_the_experiment_and_a_mismatch_does_not(desk: Desk) -> None:
    verb = experiments(desk)
    await verb.start("delay", PLAN, "which is better?", ANN)
    await desk.report("1", "2")
    await verb()
    bad = found("error_rate", log_e=math.log(1e6), estimate=3.0, low=1.0, high=9.0)
    desk.monitor.answer = evidence(bad, sample_ratio=mismatch())
    await verb()
    running = await verb.page("ex-delay-1")
    assert (running.status, bool(running.mismatch)) == ("running", True)
    desk.monitor.answer = evidence(bad)
    await verb()
    stopped = await verb.page("ex-delay-1")
    assert stopped.status == "stopped"
    assert stopped.reason.startswith("Stopped: new: error rate")
    assert [arm.version for arm in (await desk.route()).arms] == ["1"]
    assert (await desk.actions())[-1] == "experiment.stop"


async def test_a_person_stops_it_once(desk: Desk) -> None:
    verb = experiments(desk)
    await verb.start("delay", PLAN, "which is better?", ANN)
    await verb.stop("ex-delay-1", "seen enough", ANN, ANY)
    assert (await desk.route()).versions() == ("1",)
    with pytest.raises(Problem, match="stopped already"):
        await verb.stop("ex-delay-1", "again", ANN, ANY)


async def test_a_holdback_leaves_the_replaced_version_loaded_for_a_rollback(desk: Desk) -> None:
    name = await desk.start()
    while (await desk.look(hours=24)).is_active:
        pass
    holdback = PLAN.model_copy(
        update={
            "arms": (
                PLAN.arms[0].model_copy(update={"version": "2"}),
                PLAN.arms[1].model_copy(update={"version": "1"}),
            )
        }
    )
    verb = experiments(desk)
    await verb.start("delay", holdback, "is it really better?", ANN)
    await desk.report("1", "2")
    await verb()
    assert len((await desk.route()).arms) == 2
    await verb.stop("ex-delay-1", "it is", ANN, ANY)
    assert (await desk.route()).versions() == ("2", "1")
    await desk.roll_back.rollout(name, "it is not", ANN, ANY)
    assert (await desk.route()).arms[0].version == "1"


async def test_a_rollout_and_an_experiment_do_not_share_a_model(desk: Desk) -> None:
    await desk.start()
    with pytest.raises(Problem, match="under way"):
        await experiments(desk).start("delay", PLAN, "which is better?", ANN)


async def test_the_control_is_what_is_in_production(desk: Desk) -> None:
    swapped = PLAN.model_copy(update={"arms": PLAN.arms[::-1]})
    with pytest.raises(Problem, match="in production"):
        await experiments(desk).start("delay", swapped, "which is better?", ANN)


@pytest.mark.parametrize(
    ("low", "high", "finding"),
    [
        (0.01, 0.05, "better"),
        (-0.05, -0.01, "worse"),
        (-0.009, 0.009, "no_difference"),
        (-0.02, 0.05, "not_enough_data"),
        (None, None, "not_enough_data"),
    ],
)
def test_a_finding_needs_the_whole_interval(
    low: float | None, high: float | None, finding: str
) -> None:
    seen = evidence(found("clicks", estimate=0.02, low=low, high=high))
    comparison = compare(PLAN, PLAN.arms[1], seen)[0]
    assert comparison.finding == finding
    assert comparison.sentence.endswith(".")


def test_few_units_are_not_enough_data_however_good_they_look() -> None:
    arms = (ArmCount(version="2", requests=900, units=99, errors=0, intended_share=0.5),)
    seen = evidence(found("clicks", estimate=0.5, low=0.4, high=0.6), arms=arms)
    comparison = compare(PLAN, PLAN.arms[1], seen)[0]
    assert comparison.sentence == "new, clicks: not enough data yet (99 of 100 units)."


@pytest.mark.parametrize("weights", [(0.5, 0.4), (0.5, 0.6)])
def test_shares_sum_to_one(weights: tuple[float, float]) -> None:
    arms = [
        {"name": f"arm{at}", "version": str(at + 1), "weight": weight}
        for at, weight in enumerate(weights)
    ]
    with pytest.raises(ValidationError, match="sum to one"):
        ExperimentPlan.model_validate({"arms": arms, "metrics": [CLICKS.model_dump()]})
