"""Rollouts over a real database: the ladder, rollbacks that happen once, restarts, two copies."""

import asyncio
import math
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kit.clock import FakeClock
from kit.problems import Problem
from registry.domain.lifecycle import State
from registry.ports import Transaction
from registry.preconditions import Expected
from tests.registry.scenes import ANN, BOB, BOSS, Desk, evidence, found, plan, report

ALARM = math.log(1e6)
ANY = Expected(None)
ARCHIVED, PRODUCTION = State.ARCHIVED, State.PRODUCTION
BAD = evidence(found("error_rate", log_e=ALARM, estimate=4.0, low=2.0, high=9.0))


@pytest.fixture
async def desk(tmp_path: Path, fake_clock: FakeClock) -> AsyncIterator[Desk]:
    async with Desk(tmp_path, fake_clock) as desk:
        yield desk


async def weights(desk: Desk) -> dict[str, float]:
    route = await desk.route()
    assert sum(arm.weight for arm in route.arms) == pytest.approx(1.0, abs=1e-12)
    return {arm.version: arm.weight for arm in route.arms}


async def test_a_good_version_climbs_the_ladder_to_production(desk: Desk) -> None:
    await desk.start()
    assert (await desk.route()).warm == ("2",)
    assert await weights(desk) == {"1": 1.0}
    seen = []
    for _ in range(6):
        await desk.look(hours=2)
        seen.append((await weights(desk)).get("2"))
    assert seen == [0.05, 0.2, 0.5, 1.0, 1.0, 1.0]
    assert (await desk.last()).status == "promoted"
    assert await desk.states() == ("archived", "production")
    route = await desk.route()
    assert ([arm.version for arm in route.arms], route.warm) == (["2"], ("1",))


async def test_the_replaced_version_stays_loaded_for_its_time_and_not_longer(desk: Desk) -> None:
    await desk.start()
    for _ in range(5):
        await desk.look(hours=2)
    await desk.look(hours=20)
    assert (await desk.route()).warm == ("1",)
    await desk.look(hours=5)
    assert (await desk.route()).warm == ()
    assert (await desk.actions())[-1] == "rollout.cooled"


async def test_a_replaced_version_that_comes_back_as_a_candidate_is_not_unloaded(
    desk: Desk,
) -> None:
    await desk.start()
    for _ in range(5):
        await desk.look(hours=2)
    await desk.roll_out.start("delay", "1", lambda _: plan(), "the old one was better", ANN)
    desk.clock.step_us(30 * 3_600_000_000)
    await desk.report("2")
    await desk.steer()
    assert "1" in (await desk.route()).warm
    assert (await desk.look()).weight == 0.05


async def test_no_traffic_before_every_live_replica_has_the_version(desk: Desk) -> None:
    await desk.start()
    await desk.report("1", replica="slow")
    held = await desk.look()
    assert held.verdict is not None
    assert (held.verdict.reason, held.weight) == ("not_ready", 0.0)
    await desk.report("1", "2", replica="slow")
    assert (await desk.look()).weight == 0.05


async def test_a_replica_that_fell_silent_is_not_waited_for(desk: Desk) -> None:
    await desk.start()
    await desk.report("1", replica="dead")
    desk.clock.step_us(11_000_000)
    assert (await desk.look()).weight == 0.05


async def test_harm_takes_all_traffic_back_in_one_step_and_says_why(desk: Desk) -> None:
    await desk.start()
    await desk.look()
    desk.monitor.answer = BAD
    before = desk.announced
    ended = await desk.look()
    assert ended.status == "rolled_back"
    assert await weights(desk) == {"1": 1.0}
    assert await desk.states() == ("production", "rolled_back")
    assert desk.announced == before + 1
    assert ended.reason.startswith("Rolled back at 5 %: error rate")
    entries = await desk.ledger.read(lambda tx: tx.entries())
    assert entries[-1].actor == "controller"
    assert entries[-1].evidence is not None
    await desk.look()
    assert (await desk.actions()).count("rollout.roll_back") == 1


async def test_a_new_attempt_takes_a_new_number_and_climbs_from_the_start(desk: Desk) -> None:
    await desk.start()
    await desk.look()
    desk.monitor.answer = BAD
    await desk.look()
    desk.monitor.answer = evidence()
    await desk.start()
    again = await desk.look()
    assert (again.attempt, again.weight, again.id) == (2, 0.05, "ro-delay-2")


async def test_shadow_comes_first_where_the_plan_has_one(desk: Desk) -> None:
    await desk.start(plan(shadow={"bake_s": 3600, "pairs_min": 10}))
    await desk.look()
    route = await desk.route()
    assert (route.shadows, route.rollout_id) == (("2",), "ro-delay-1")
    assert await desk.states() == ("production", "shadow")
    await desk.look(hours=2)
    assert desk.monitor.asked[-1].paired
    assert (await weights(desk))["2"] == 0.05


async def test_the_canary_is_judged_by_its_own_windows_and_not_by_the_shadows(
    desk: Desk,
) -> None:
    await desk.start(plan(shadow={"bake_s": 0, "pairs_min": 10}))
    for _ in range(6):
        await desk.look(hours=2)
    asked = desk.monitor.asked[-1]
    assert not asked.paired
    assert [window.weight for window in asked.steps] == [0.05, 0.2, 0.5, 1.0]
    assert all(
        early.until_us == late.from_us
        for early, late in zip(asked.steps, asked.steps[1:], strict=False)
    )


async def test_weights_freeze_while_the_monitor_is_away_and_the_verdict_says_so(
    desk: Desk,
) -> None:
    await desk.start()
    await desk.look()
    desk.monitor.answer = None
    held = await desk.look(hours=50)
    assert held.weight == 0.05
    assert held.verdict is not None
    assert held.verdict.sentence == ("Held: the monitor does not answer; weights stay as they are.")


async def test_a_monitor_that_kept_the_controller_waiting_is_asked_again_soon(desk: Desk) -> None:
    await desk.start()
    await desk.look()
    desk.monitor.takes_us = 15_000_000
    await desk.look()
    asked = len(desk.monitor.asked)
    desk.clock.advance_us(9_000_000)
    await desk.look()
    assert len(desk.monitor.asked) == asked
    desk.clock.advance_us(1_000_000)
    await desk.look()
    assert len(desk.monitor.asked) == asked + 1


async def test_a_replica_that_fails_at_length_is_quoted_in_short(desk: Desk) -> None:
    await desk.start()
    await desk.ledger.write(
        lambda tx: tx.put_replica(report("1", failed="2", reason="no such operator " * 1000))
    )
    await desk.steer()
    halted = await desk.last()
    assert halted.status == "halted"
    assert halted.verdict is not None
    assert len(halted.verdict.sentence) < 500


async def test_a_restart_between_any_two_looks_changes_nothing(desk: Desk, tmp_path: Path) -> None:
    await desk.start()
    for expected in (0.05, 0.2, 0.5):
        desk.steer = desk.steering("copy-1")
        await desk.look(hours=2)
        assert (await weights(desk))["2"] == expected


async def test_two_copies_never_act_both(desk: Desk) -> None:
    await desk.start()
    await desk.report("1", "2")
    copies = [desk.steering(f"copy-{i}") for i in range(2)]
    for _ in range(4):
        desk.clock.step_us(3_700_000_000)
        await desk.report("1", "2")
        await asyncio.gather(*(copy() for copy in copies))
    actions = await desk.actions()
    assert actions.count("rollout.promote") == 4
    assert (await weights(desk))["2"] == 1.0


async def test_a_verdict_on_a_state_that_is_past_does_nothing(desk: Desk) -> None:
    await desk.start()
    await desk.look()
    stale = await desk.last()
    await desk.roll_out.act(stale.id, "pause", "a person was faster", ANN, ANY)
    await desk.steer._look(stale)
    assert (await desk.last()).status == "paused"


async def test_another_copy_takes_over_when_the_first_falls_silent(desk: Desk) -> None:
    await desk.start()
    await desk.look()
    other = desk.steering("copy-2")
    desk.clock.step_us(9_000_000)
    await desk.report("1", "2")
    asked = len(desk.monitor.asked)
    await other()
    assert len(desk.monitor.asked) == asked
    desk.clock.step_us(2_000_000)
    await desk.report("1", "2")
    await other()
    assert len(desk.monitor.asked) == asked + 1


async def test_a_person_pauses_resumes_approves_and_aborts(desk: Desk) -> None:
    name = await desk.start(plan(approvals=(0.2,)))
    await desk.look()
    held = await desk.look(hours=2)
    assert held.verdict is not None
    assert held.verdict.reason == "approval"
    await desk.roll_out.act(name, "promote", "looks right", BOB, Expected(held.revision))
    assert (await desk.look()).weight == 0.2
    await desk.roll_out.act(name, "pause", "lunch", ANN, ANY)
    assert (await desk.look(hours=9)).weight == 0.2
    await desk.roll_out.act(name, "resume", "fed", ANN, ANY)
    assert (await desk.look()).weight == 0.5
    await desk.roll_out.act(name, "abort", "changed my mind", ANN, ANY)
    assert await weights(desk) == {"1": 1.0}
    assert await desk.states() == ("production", "candidate")


async def test_a_stale_revision_is_refused(desk: Desk) -> None:
    name = await desk.start()
    with pytest.raises(Problem, match="changed since it was read"):
        await desk.roll_out.act(name, "abort", "too late", ANN, Expected(99))


async def test_pushing_on_without_evidence_needs_the_right_to_override(desk: Desk) -> None:
    name = await desk.start()
    await desk.look()
    with pytest.raises(Problem, match="registry:override"):
        await desk.roll_out.act(name, "override", "trust me", ANN, ANY)
    assert (await desk.actions())[-1] == "rollout.override_refused"
    await desk.roll_out.act(name, "override", "trust me", BOSS, ANY)
    assert (await weights(desk))["2"] == 0.2
    decisions = await desk.ledger.read(lambda tx: tx.decisions(name))
    sentence = "Promoted to 20 % without evidence by boss: trust me"
    assert decisions[-1].verdict.sentence == sentence


async def test_an_override_brings_a_version_to_production_once_it_is_loaded(desk: Desk) -> None:
    await desk.roll_out.override("delay", "2", "an emergency", BOSS, ANY)
    assert await weights(desk) == {"1": 1.0}
    await desk.look()
    await desk.look()
    assert await weights(desk) == {"2": 1.0}
    assert await desk.states() == ("archived", "production")


async def test_an_override_to_what_a_rollout_takes_traffic_from_names_the_rollout(
    desk: Desk,
) -> None:
    name = await desk.start()
    with pytest.raises(Problem, match=f"{name} is under way to take its traffic: abort that"):
        await desk.roll_out.override("delay", "1", "back to what was", BOSS, ANY)


async def test_a_person_takes_back_a_finished_rollout_at_once(desk: Desk) -> None:
    name = await desk.start()
    for _ in range(5):
        await desk.look(hours=2)
    await desk.roll_back.model("delay", "customers complain", ANN)
    assert await weights(desk) == {"1": 1.0}
    assert await desk.states() == ("production", "rolled_back")
    assert (await desk.last()).status == "rolled_back"
    with pytest.raises(Problem, match="rolled_back already"):
        await desk.roll_back.rollout(name, "again", ANN, ANY)


async def test_nothing_of_a_retired_model_is_taken_back_or_rolled_out(desk: Desk) -> None:
    name = await desk.start()
    for _ in range(6):
        await desk.look(hours=2)
    await desk.move("2", ARCHIVED)
    assert (await desk.ledger.read(lambda tx: tx.table())).models == {}
    with pytest.raises(Problem, match="nothing of this model is in production; move a version"):
        await desk.roll_back.model("delay", "too late", ANN)
    with pytest.raises(Problem, match="Version 2 is not what serves now"):
        await desk.roll_back.rollout(name, "too late", ANN, ANY)
    with pytest.raises(Problem, match="Nothing of this model is in production; move a version"):
        await desk.start()
    await desk.look(hours=24 * 8)  # nothing is left to cool
    assert "rollout.cooled" not in await desk.actions()
    await desk.move("1", PRODUCTION)
    assert await weights(desk) == {"1": 1.0}
    assert await desk.states() == ("production", "archived")


@pytest.mark.parametrize("number", ["1", "2"])
async def test_a_version_in_a_rollout_is_not_retired(desk: Desk, number: str) -> None:
    await desk.start()
    with pytest.raises(Problem, match="ro-delay-1 is under way"):
        await desk.move(number, ARCHIVED)
    assert await weights(desk) == {"1": 1.0}


async def test_four_eyes_keep_the_starter_from_approving(
    tmp_path: Path, fake_clock: FakeClock
) -> None:
    async with Desk(tmp_path, fake_clock, four_eyes=True) as desk:
        name = await desk.start(plan(approvals=(0.2,)))
        await desk.look()
        with pytest.raises(Problem, match="Somebody else"):
            await desk.roll_out.act(name, "promote", "mine", ANN, ANY)
        await desk.roll_out.act(name, "promote", "looked at it", BOB, ANY)


async def test_with_four_eyes_no_plan_reaches_the_end_without_approval(
    tmp_path: Path, fake_clock: FakeClock
) -> None:
    async with Desk(tmp_path, fake_clock, four_eyes=True) as desk:
        name = await desk.start(plan(approvals=()))
        for _ in range(8):
            held = await desk.look(hours=50)
        assert held.verdict is not None
        assert held.verdict.sentence == "Held: a person has to approve 100 %."
        await desk.roll_out.act(name, "promote", "looked at it", BOB, ANY)
        assert (await desk.look(hours=50)).weight == 1.0


async def test_one_model_has_one_rollout_at_a_time(desk: Desk) -> None:
    await desk.start()
    with pytest.raises(Problem, match="under way"):
        await desk.start()


DEEDS = ["pause", "resume", "override", "abort"]
MOVES = ["look", "look", "bad", "away", "start", "back", "retire", "return", *DEEDS]


@settings(max_examples=25, deadline=None)
@given(moves=st.lists(st.sampled_from(MOVES), max_size=14))
def test_whatever_happens_weights_sum_to_one_epochs_grow_and_what_is_in_production_serves(
    tmp_path_factory: pytest.TempPathFactory, moves: list[str]
) -> None:
    async def play() -> None:
        async with Desk(tmp_path_factory.mktemp("r"), FakeClock()) as desk:
            epoch = 0
            for move in moves:
                await _play(desk, move)
                table = await desk.ledger.read(lambda tx: tx.table())
                assert table.epoch >= epoch
                epoch = table.epoch
                states = await desk.states()
                assert states.count("production") == len(table.models)
                if table.models:
                    assert str(states.index("production") + 1) in await weights(desk)
            await desk.actions()  # checks the chain

    asyncio.run(play())


async def _play(desk: Desk, move: str) -> None:
    desk.monitor.answer = {"bad": BAD, "away": None}.get(move, evidence())
    try:
        if move in ("look", "bad", "away"):
            if await desk.ledger.read(lambda tx: tx.rollouts("delay")):
                await desk.look(hours=2)
        elif move == "start":
            await desk.start()
        elif move == "retire":
            await desk.move("1" if (await desk.states())[0] == "production" else "2", ARCHIVED)
        elif move == "return":
            await desk.move("1", PRODUCTION)
        elif move == "back":
            await desk.roll_back.model("delay", "a test wants it", BOSS)
        else:
            name = (await desk.last()).id
            await desk.roll_out.act(name, move, "a test wants it", BOSS, ANY)  # type: ignore[arg-type]
    except (Problem, IndexError):
        pass  # refused; what matters is that nothing broke


async def test_no_rollout_gets_the_id_of_one_that_the_database_has_forgotten(desk: Desk) -> None:
    def forgotten(tx: Transaction) -> None:
        for _ in range(3):
            tx.next_number("rollouts", "delay", [])

    await desk.ledger.write(forgotten)
    assert await desk.start() == "ro-delay-4"
