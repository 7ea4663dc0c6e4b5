"""The simulation: the real controller, in worlds small enough for a test."""

import pytest

from bench.rollout_simulation import LOOKS, plan_for
from bench.rollouts.play import play
from bench.rollouts.worlds import World

PLAN = plan_for(quality=False)


def test_a_rollout_is_the_same_for_the_same_seed() -> None:
    world = World("worse", error_risk=3.0)
    assert play(world, PLAN, 7, LOOKS) == play(world, PLAN, 7, LOOKS)


def test_a_much_worse_version_is_taken_back_at_its_first_weight() -> None:
    outcome = play(World("worse", error_risk=10.0), PLAN, 1, LOOKS)
    assert (outcome.ended, outcome.reason, outcome.weight) == ("rolled_back", "guard", 0.05)


def test_the_same_version_reaches_everybody() -> None:
    assert play(World("same"), PLAN, 1, LOOKS).weight == 1.0


@pytest.mark.parametrize("lost", [0.3, 0.6])
def test_lost_telemetry_holds_and_takes_nothing_back(lost: float) -> None:
    outcome = play(World("lost", lost_share=lost), PLAN, 1, LOOKS)
    assert (outcome.ended, outcome.reason) == ("undecided", "sample_ratio")
