"""Shadows score what was answered, afterwards, and are never answered."""

import asyncio

import orjson
import pytest

from contracts.routing import Arm, ModelRoute, RoutingTable
from inference.domain.fleet import fleet_of
from tests.inference.parts import House, body, logistic_model
from tests.polling import until


def with_shadow(house: House) -> None:
    shadow = house.load("2", logistic_model([-0.1] * 10))
    stable = house.fleet.versions["risk", "1"]
    arm = Arm(version="1", variant="production", weight=1.0)
    table = RoutingTable(epoch=9, models={"risk": ModelRoute(arms=(arm,), shadows=("2",))})
    versions = {("risk", "1"): stable, ("risk", "2"): shadow}
    house.fleet = fleet_of(table, versions, house.fleet)


async def test_a_shadow_scores_after_the_answer_and_pairs_with_it(house: House) -> None:
    with_shadow(house)
    (answer,) = await house.ask(body("a", "b"))
    assert orjson.loads(answer.body)["version"] == "1"
    assert len(house.spool.batches) == 1
    await house.shadow.step()
    answered, shadowed = house.spool.batches
    assert (shadowed.variant, shadowed.version) == ("shadow", "2")
    assert shadowed.request_id.tolist() == answered.request_id.tolist()
    assert shadowed.row.tolist() == answered.row.tolist() == [0, 1]
    assert shadowed.score.tolist() == pytest.approx([1 - p for p in answered.score.tolist()])


async def test_an_offer_wakes_the_shadow(house: House) -> None:
    with_shadow(house)
    running = asyncio.ensure_future(house.shadow.run())
    await asyncio.sleep(0)  # it waits by now
    await house.ask(body("a"))
    await until(lambda: len(house.spool.batches) == 2)
    running.cancel()


async def test_shadows_that_come_too_late_are_dropped_and_counted(house: House) -> None:
    with_shadow(house)
    for _ in range(60):
        await house.ask(body("a", "b"))
    tally = house.fleet.versions["risk", "2"].tally
    assert tally.shadow["dropped"] == 20  # the queue holds 100 rows
    await house.shadow.step()
    assert tally.shadow["computed"] == 2


async def test_a_shadow_outlives_its_callers_deadline(house: House) -> None:
    with_shadow(house)
    await house.ask(body("a"), remaining_ms=200)
    await house.shadow.step()
    assert house.spool.batches[1].outcome.tolist() == [0]
