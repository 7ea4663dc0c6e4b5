"""Rows wait in lanes; every caller gets its own, whatever happens to its neighbours."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from contracts.served import OUTCOMES
from inference.adapters.engine_onnxruntime import OnnxEngine
from inference.adapters.session_onnxruntime import (
    FAILURE_LINES_PER_S_MAX,
    ModelRefused,
    OnnxSession,
    open_session,
    run_rows,
)
from inference.adapters.slots import Slots
from kit.clock import SystemClock
from kit.tasks import TaskOwner
from tests.inference.parts import logistic_model
from tests.inference.raw_models import gather_model, total_model

CLOCK = SystemClock()
SESSION = open_session(logistic_model([0.1] * 4), (), 1)
GATHER = open_session(gather_model(), (), 1)
TOTAL = open_session(total_model(), (), 1)


@dataclass
class Machine:
    """Slots and threads, and lanes on them that never compute on the event loop."""

    tasks: TaskOwner
    slots: Slots
    executor: ThreadPoolExecutor

    def lane(self, session: OnnxSession, rows_max: int = 8, weight: float = 1.0) -> OnnxEngine:
        return OnnxEngine(
            session,
            clock=CLOCK,
            slots=self.slots,
            executor=self.executor,
            rows_max=rows_max,
            inline_us_max=0,
            weight=weight,
        )


@pytest.fixture
async def machine() -> AsyncIterator[Machine]:
    async with TaskOwner() as tasks:
        with ThreadPoolExecutor(1) as executor:
            yield Machine(tasks, Slots(1, tasks), executor)


def rows_of(seed: int, rows: int) -> Any:
    return np.random.default_rng(seed).standard_normal((rows, 4)).astype(np.float32)


async def test_whatever_shares_a_batch_is_answered_as_if_alone(machine: Machine) -> None:
    lane = machine.lane(SESSION)
    asked = [rows_of(seed, 1 + seed % 5) for seed in range(20)]
    answers = await asyncio.gather(
        *(lane.compute({"input": rows}, len(rows), None) for rows in asked)
    )
    for rows, answer in zip(asked, answers, strict=True):
        alone = [SESSION.run({"input": rows[i : i + 1]})[0] for i in range(len(rows))]
        np.testing.assert_allclose(answer.outputs[0], np.concatenate(alone), atol=1e-6)


async def test_what_runs_together_on_the_loop_is_answered_as_if_alone(machine: Machine) -> None:
    lane = machine.lane(SESSION)
    asked = [rows_of(seed, 1 + seed % 3) for seed in range(4)]
    answers = lane.run_together([{"input": rows} for rows in asked], [len(rows) for rows in asked])
    for rows, answer in zip(asked, answers, strict=True):
        np.testing.assert_allclose(answer.outputs[0], SESSION.run({"input": rows})[0], atol=1e-6)
        assert answer.outcome.tolist() == [0] * len(rows)


async def test_what_comes_together_runs_together_and_the_late_are_told(machine: Machine) -> None:
    lane = machine.lane(SESSION)
    asked = [rows_of(seed, 2) for seed in range(5)]
    ahead_ns = CLOCK.monotonic_ns() + 10**10
    answers = await lane.compute_together(
        [{"input": rows} for rows in asked], [2] * 5, [ahead_ns, ahead_ns, 0, ahead_ns, ahead_ns]
    )
    for index, (rows, answer) in enumerate(zip(asked, answers, strict=True)):
        if index == 2:
            assert {OUTCOMES[one] for one in answer.outcome} == {"deadline"}
        else:
            np.testing.assert_allclose(answer.outputs[0], SESSION.run({"input": rows})[0], 1e-5)


async def test_a_lane_runs_nothing_on_the_loop_before_it_knows_what_a_run_costs(
    machine: Machine,
) -> None:
    lane = OnnxEngine(
        SESSION, clock=CLOCK, slots=machine.slots, executor=machine.executor,
        rows_max=8, inline_us_max=1_000_000,
    )  # fmt: skip
    assert lane.quick(1) == 0
    lane.warm({"input": rows_of(1, 2)})
    assert (lane.quick(2), lane.quick(3), lane.quick(8), lane.quick(9)) == (4, 2, 1, 0)
    assert machine.lane(SESSION).quick(1) == 0, "it may not"


async def test_how_many_run_together_is_what_they_took_or_what_one_takes(machine: Machine) -> None:
    lane = OnnxEngine(
        SESSION, clock=CLOCK, slots=machine.slots, executor=machine.executor,
        rows_max=1_000, inline_us_max=1_000,
    )  # fmt: skip
    costs = lane._own_costs
    costs.learn(1, 90e-6)
    assert lane.quick(1) == 11, "eleven times what one takes"
    costs.learn(40, 400e-6)
    assert lane.quick(1) == 64, "a long run was found to take little"
    costs.learn(100, 260e-6)
    costs.learn(300, 5_000e-6)
    assert lane.quick(100) == 3, "one bad long run says nothing"
    assert lane.quick(300) == 0


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 9), st.booleans()), min_size=1, max_size=12))
async def test_callers_that_leave_change_nobodys_answer(plan: list[tuple[int, bool]]) -> None:
    async with TaskOwner() as tasks:
        with ThreadPoolExecutor(1) as executor:
            lane = Machine(tasks, Slots(1, tasks), executor).lane(SESSION)
            asked = [rows_of(index, rows) for index, (rows, _) in enumerate(plan)]
            running = [
                asyncio.ensure_future(lane.compute({"input": rows}, len(rows), None))
                for rows in asked
            ]
            await asyncio.sleep(0)
            for task, (_, leaves) in zip(running, plan, strict=True):
                if leaves:
                    task.cancel()
            answers = await asyncio.gather(*running, return_exceptions=True)
            for rows, answer, (_, leaves) in zip(asked, answers, plan, strict=True):
                if leaves:
                    continue
                assert not isinstance(answer, BaseException)
                np.testing.assert_allclose(
                    answer.outputs[0], SESSION.run({"input": rows})[0], atol=1e-6
                )


async def test_a_poison_row_answers_for_itself(machine: Machine) -> None:
    lane = machine.lane(GATHER)
    good = lane.compute({"index": np.array([0, 2])}, 2, None)
    bad = lane.compute({"index": np.array([1, 99])}, 2, None)
    first, second = await asyncio.gather(good, bad)
    assert first.outputs[0].tolist() == [10.0, 30.0]
    assert first.outcome.tolist() == [0, 0]
    assert second.outputs[0][0] == 20.0
    assert second.outcome.tolist() == [0, OUTCOMES.index("model_error")]


def test_a_batch_of_poison_is_all_errors() -> None:
    _, outcome = run_rows(GATHER, {"index": np.array([7, 8])}, 2)
    assert set(outcome.tolist()) == {OUTCOMES.index("model_error")}


def test_runs_that_fail_are_logged_in_bounds(capfd: pytest.CaptureFixture[str]) -> None:
    with capture_logs() as lines:
        for _ in range(3 * FAILURE_LINES_PER_S_MAX):
            run_rows(GATHER, {"index": np.array([7, 8])}, 2)
    assert 0 < len(lines) <= 2 * FAILURE_LINES_PER_S_MAX  # a second may end in between
    assert "onnxruntime" not in capfd.readouterr().err


async def test_expired_rows_are_not_computed_and_their_neighbours_are(machine: Machine) -> None:
    lane = machine.lane(SESSION)
    now_ns = CLOCK.monotonic_ns()
    rows = rows_of(1, 3)
    deadlines = np.array([now_ns + 10**10, now_ns - 1, now_ns + 10**10])
    mixed, late = await asyncio.gather(
        lane.compute({"input": rows}, 3, deadlines),
        lane.compute({"input": rows}, 3, np.full(3, now_ns - 1)),
    )
    deadline = OUTCOMES.index("deadline")
    assert mixed.outcome.tolist() == [0, deadline, 0]
    expected = SESSION.run({"input": rows})[0]
    np.testing.assert_allclose(mixed.outputs[0][[0, 2]], expected[[0, 2]], atol=1e-6)
    assert late.outcome.tolist() == [deadline] * 3


async def test_a_run_that_fails_leaves_nobody_waiting(machine: Machine) -> None:
    lane = machine.lane(SESSION)
    lane.close()
    async with asyncio.timeout(5):
        outcomes = await asyncio.gather(
            *(lane.compute({"input": rows_of(1, 2)}, 2, None, alone=True) for _ in range(3)),
            return_exceptions=True,
        )
    assert [type(one) for one in outcomes] == [AssertionError] * 3


async def test_late_rows_of_a_model_that_cannot_be_batched_leave_nobody_waiting(
    machine: Machine,
) -> None:
    lane = machine.lane(TOTAL)
    deadlines = np.array([CLOCK.monotonic_ns() + 10**10, 0])
    x = np.ones((2, 2), np.float32)
    async with asyncio.timeout(5):
        one, other = await asyncio.gather(
            lane.compute({"x": x}, 2, deadlines), lane.compute({"x": x}, 2, None)
        )
    assert other.outcome.tolist() == [0, 0]
    assert one.outcome[1] == OUTCOMES.index("deadline")


async def test_more_rows_than_a_batch_holds_are_run_in_pieces(machine: Machine) -> None:
    lane = machine.lane(SESSION, rows_max=8)
    rows = rows_of(3, 50)
    answer = await lane.compute({"input": rows}, 50, None)
    np.testing.assert_allclose(answer.outputs[0], SESSION.run({"input": rows})[0], atol=1e-6)


async def test_a_busy_canary_does_not_starve_the_stable_version(machine: Machine) -> None:
    order: list[str] = []

    async def ask(name: str, lane: OnnxEngine) -> None:
        await lane.compute({"input": rows_of(1, 8)}, 8, None)
        order.append(name)

    canary, stable = machine.lane(SESSION), machine.lane(SESSION)
    await asyncio.gather(
        *(ask("canary", canary) for _ in range(30)), *(ask("stable", stable) for _ in range(5))
    )
    last_stable = max(index for index, name in enumerate(order) if name == "stable")
    assert last_stable <= 20, order  # queued behind 30 of the canary's, it would be the 35th


def test_what_is_no_model_is_refused() -> None:
    with pytest.raises(ModelRefused):
        open_session(b"not a model", (), 1)


def test_a_missing_provider_falls_back_to_the_cpu_and_says_so() -> None:
    session = open_session(logistic_model([1.0]), ("CUDAExecutionProvider",), 1)
    assert session.fallback
    assert not SESSION.fallback
    assert session.run({"input": np.zeros((1, 1), np.float32)})[0].tolist() == [[0.5, 0.5]]
