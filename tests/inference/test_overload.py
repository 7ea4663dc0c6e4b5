"""What cannot be answered in time is refused at once; what can be is not."""

import orjson

from inference.domain.pace import Pace, Paces
from tests.inference.parts import House, body


def queue(house: House, model: str, *, rows: int) -> None:
    """So many rows wait, a thousand a second are answered."""
    house.paces.accept(model, rows + 100, 0)
    house.paces.answer(model, 100, 100_000_000)


async def test_a_request_whose_deadline_has_passed_is_not_computed(house: House) -> None:
    (answer,) = await house.ask(body("a"), remaining_ms=0)
    assert answer.status == 504
    assert orjson.loads(answer.body)["stage"] == "queue"
    assert house.spool.batches == []
    assert house.reader.calls == 0


async def test_a_predicted_wait_beyond_the_deadline_is_overload_and_retryable(
    house: House,
) -> None:
    queue(house, "risk", rows=1_000)
    (answer,) = await house.ask(body("a"), remaining_ms=500)
    assert (answer.status, answer.retryable) == (503, True)
    assert orjson.loads(answer.body)["code"] == "overloaded"
    assert b"retry-after: 1" in answer.headers
    (patient,) = await house.ask(body("a"), remaining_ms=5_000)
    assert patient.status == 200


async def test_more_rows_than_may_be_in_flight_are_overload(house: House) -> None:
    house.paces.accept("risk", 10_000, 0)
    (answer,) = await house.ask(body("a"))
    assert answer.status == 503


def test_an_idle_replica_predicts_no_wait() -> None:
    assert Pace().wait_s(5) == 0.0
    assert Paces().none_late(10_000, 0.0)


def test_what_never_queued_refuses_nobody() -> None:
    pace = Pace()
    for turn in range(100):  # latency, not load: one row at a time, each 60 ms
        pace.accept(1, turn * 80_000_000)
        pace.answer(1, turn * 80_000_000 + 60_000_000)
    assert pace.wait_s(1_000) > 20
    assert not pace.late(1_000, 0.1)


async def test_rows_are_counted_not_requests(house: House) -> None:
    queue(house, "risk", rows=300)
    many = body(*["a"] * 300)
    large, small, late = await house.ask(many, body("a"), many, remaining_ms=800)
    assert (large.status, small.status, late.status) == (200, 200, 503)


async def test_what_finds_nobody_before_it_is_taken(house: House) -> None:
    house.paces.accept("risk", 1_000, 0)
    house.paces.answer("risk", 10, 100_000_000)  # 100 rows a second, and then idle
    house.paces.answer("risk", 990, 100_000_001)
    (answer,) = await house.ask(body(*["a"] * 500), remaining_ms=1_000)
    assert answer.status == 200
    house.paces.accept("risk", 1, 0)
    (more,) = await house.ask(body(*["a"] * 500), remaining_ms=1_000)
    assert more.status == 503


async def test_one_slow_model_refuses_no_other(house: House) -> None:
    queue(house, "slow", rows=5_000)
    (answer,) = await house.ask(body("a"), remaining_ms=500)
    assert answer.status == 200


def test_the_pace_follows_a_slowdown_only_when_rows_queue() -> None:
    pace = Pace()
    pace.accept(10_000, 0)
    pace.answer(1_000, 50_000_000)  # 20,000 a second
    assert pace.wait_s() == 9_000 / 20_000
    pace.answer(8_999, 450_000_000)
    quick = pace.wait_s(100)
    pace.answer(1, 2_000_000_000)  # alone and slow: says nothing about capacity
    assert pace.wait_s(101) == quick * 101 / 101
    assert pace.pending == 0


def test_a_pace_that_a_pause_held_back_recovers_in_spells_of_any_length() -> None:
    pace = Pace()
    pace.accept(1_000, 0)
    pace.answer(100, 500_000_000)  # a pause: 200 a second, and so the spells are short
    pace.answer(900, 501_000_000)
    assert pace.late(2_000, 5.0)
    for turn in range(100):
        began_ns = 10**9 + turn * 11_000_000
        pace.accept(100, began_ns)
        pace.answer(100, began_ns + 1_000_000)
    assert not pace.late(2_000, 0.05)


async def test_a_caller_that_left_is_not_answered(house: House) -> None:
    from tests.inference.parts import asks

    arrivals, answers = asks([body("a"), body("b")], house.clock.monotonic_ns())
    arrivals[0].wanted = False
    await house.predict.answer(arrivals)
    assert list(answers) == [1]


async def test_a_request_of_many_rows_comes_back_in_order(house: House) -> None:
    house.reader.values = {f"u{index}": [index / 1000] * 10 for index in range(3_000)}
    (answer,) = await house.ask(body(*house.reader.values), remaining_ms=20_000)
    said = orjson.loads(answer.body)
    assert said["version"] == "1"
    scores = [row["probability"] for row in said["predictions"]]
    assert len(scores) == 3_000
    assert scores == sorted(scores)
