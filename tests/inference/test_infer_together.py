"""Calls that come together: one run, one record, and to each its own answer."""

import asyncio
from typing import Any

import numpy as np
import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.served import OUTCOMES
from inference.domain.open_inference import KEPT_MAX
from tests.inference.asking import Asking
from tests.polling import until

INFER = "/v2/models/{}/infer"


def binary(
    model: str, values: Any, name: str, datatype: str, **head: Any
) -> tuple[str, bytes, bytes]:
    """A call with one tensor, in its binary form."""
    tensor = np.asarray(values)
    told = {
        "name": name,
        "shape": list(tensor.shape),
        "datatype": datatype,
        "parameters": {"binary_data_size": tensor.nbytes},
    }
    text = orjson.dumps({"inputs": [told], **head})
    lines = b"inference-header-content-length: %d\n" % len(text)
    return INFER.format(model), lines, text + tensor.tobytes()


def picks(*indices: int, **head: Any) -> tuple[str, bytes, bytes]:
    """A call that picks from the table 10, 20, 30."""
    return binary("gather", np.array(indices, np.int64), "index", "INT64", **head)


async def test_calls_of_one_turn_share_a_run_and_a_record(asking: Asking) -> None:
    calls = [picks(0), picks(1, 2), picks(2), picks(1, parameters={"unit": "me"})]
    told = [orjson.loads(answer.body)["outputs"][0] for answer in await asking.turn(calls)]
    assert [one["data"] for one in told] == [[10.0], [20.0, 30.0], [30.0], [20.0]]
    assert sum(asking.fleet.versions["gather", "1"].tally.stages["compute"].counts) == 1
    assert asking.house.runs == 0, "no thread was asked"
    (batch,) = asking.house.spool.batches
    ids = [index.to_bytes(16, "big") for index in range(4)]
    assert batch.request_id.tolist() == ids
    assert batch.units == (*[one.hex() for one in ids[:3]], "me")
    np.testing.assert_array_equal(batch.score, [10.0, np.nan, 30.0, 20.0])
    _, stats = await asking.get("/v2/models/gather/stats")
    counted = stats["model_stats"][0]
    assert (counted["inference_count"], counted["execution_count"]) == (5, 1)
    assert counted["inference_stats"]["success"]["count"] == 4


async def test_calls_to_a_slow_model_share_a_run_in_a_thread_and_a_record() -> None:
    asking = Asking(inline_us_max=0)
    first, second = [picks(0), picks(1, 9), picks(2)], [picks(1), picks(2)]
    try:
        arrivals, answers = asking.arrivals([*first, *second])
        asking.infer.submit(arrivals[:3])
        await asyncio.sleep(0)
        asking.infer.submit(arrivals[3:])
        await until(lambda: len(answers) == 5)
    finally:
        await asking.house.close()
    assert [answers[index].status for index in range(5)] == [200, 400, 200, 200, 200]
    assert asking.house.runs == 2
    assert [len(batch.units) for batch in asking.house.spool.batches] == [3, 2]
    assert not asking.fleet.versions["gather", "1"].in_use


async def test_a_call_that_the_model_cannot_compute_fails_alone(asking: Asking) -> None:
    answers = await asking.turn([picks(0), picks(1, 9), picks(2)])
    assert [answer.status for answer in answers] == [200, 400, 200]
    (batch,) = asking.house.spool.batches
    assert [OUTCOMES[outcome] for outcome in batch.outcome] == ["ok", "model_error", "ok"]


async def test_a_model_that_looks_at_all_rows_at_once_is_found_out(asking: Asking) -> None:
    for rows in ([[1.0, 2.0]], [[3.0, 4.0]]):
        calls = [binary("total", np.array(rows, np.float32), "x", "FP32")] * 3
        for answer in await asking.turn(calls):
            assert orjson.loads(answer.body)["outputs"][0]["data"] == rows[0]


async def test_rows_that_are_answered_with_each_other_share_no_run_with_strangers(
    asking: Asking,
) -> None:
    calls = [
        binary("centred", np.array([[x, x], [0, 0]], np.float32), "x", "FP32") for x in (2.0, 8.0)
    ]
    told = [orjson.loads(answer.body)["outputs"][0]["data"] for answer in await asking.turn(calls)]
    assert told == [[1.0, 1.0, -1.0, -1.0], [4.0, 4.0, -4.0, -4.0]]


async def test_a_call_whose_rows_are_answered_with_each_other_is_not_cut(asking: Asking) -> None:
    rows = np.repeat(np.arange(300, dtype=np.float32)[:, None], 2, axis=1)
    (answer,) = await asking.turn([binary("centred", rows, "x", "FP32")])
    data = orjson.loads(answer.body)["outputs"][0]["data"]
    np.testing.assert_allclose(np.reshape(data, (300, 2)), rows - rows.mean(), atol=1e-3)


async def test_who_has_left_or_is_too_late_is_not_computed(asking: Asking) -> None:
    arrivals, answers = asking.arrivals([picks(0), picks(1)])
    late, told = asking.arrivals([picks(2)], remaining_ms=0)
    asking.infer.submit([*arrivals, *late])
    arrivals[0].wanted = False
    await until(lambda: bool(answers and told))
    assert (list(answers), answers[1].status, told[0].status) == ([1], 200, 503)
    outcomes = {
        OUTCOMES[outcome] for batch in asking.house.spool.batches for outcome in batch.outcome
    }
    assert outcomes == {"ok", "deadline"}
    assert not asking.fleet.versions["gather", "1"].in_use


async def test_a_predicted_wait_beyond_the_deadline_is_refused_and_may_go_elsewhere(
    asking: Asking,
) -> None:
    paces = asking.house.paces
    paces.accept("gather", 1_100, 0)
    paces.answer("gather", 100, 100_000_000)  # a thousand rows a second, and a thousand wait
    arrivals, answers = asking.arrivals([picks(1), picks(2)], remaining_ms=500)
    patient, kept = asking.arrivals([picks(1)], remaining_ms=5_000)
    asking.infer.submit([*arrivals, *patient])
    await until(lambda: len(answers) == 2 and len(kept) == 1)
    assert {(one.status, one.retryable) for one in answers.values()} == {(503, True)}
    assert b"retry-after: 1" in answers[0].headers
    assert kept[0].status == 200
    assert paces.pending == 1_000


async def test_more_rows_than_may_be_in_flight_are_refused(asking: Asking) -> None:
    asking.house.paces.accept("risk", 10_000, 0)
    arrivals, answers = asking.arrivals([picks(1)])
    asking.infer.submit(arrivals)
    assert answers[0].status == 503


async def test_a_json_part_that_comes_again_is_read_once(asking: Asking) -> None:
    heads = asking.fleet.versions["gather", "1"].heads
    told = [await asking.turn([picks(index)]) for index in (0, 1, 2, 0)]
    values = [orjson.loads(answer.body)["outputs"][0]["data"] for (answer,) in told]
    assert (values, len(heads)) == ([[10.0], [20.0], [30.0], [10.0]], 1)
    await asking.turn([picks(0, id=str(number)) for number in range(3)])
    assert len(heads) == 1, "a call's name does not come again"
    for number in range(0, KEPT_MAX + 10, 5):
        units = [{"unit": str(number + more)} for more in range(5)]
        await asking.turn([picks(0, parameters=one) for one in units])
    assert len(heads) == KEPT_MAX


_CALLS = st.one_of(
    st.lists(st.integers(0, 3), min_size=1, max_size=4).map(lambda found: picks(*found)),
    st.lists(st.integers(0, 2), min_size=1, max_size=4).map(lambda found: picks(*found, id="7")),
    st.integers(0, 3).map(lambda rows: binary("table", np.ones((rows, 2), "f4"), "x", "FP32")),
    st.integers(1, 3).map(lambda width: binary("table", np.ones((2, width), "f4"), "x", "FP32")),
    st.just(binary("nobody", np.ones((1, 2), "f4"), "x", "FP32")),
    st.just((INFER.format("gather"), b"", b"{")),
    st.just((INFER.format("gather"), b"inference-header-content-length: 99\n", b"{}")),
    st.just(("/v2/models/gather", b"", b"")),
)


@settings(max_examples=40, deadline=None)
@given(st.lists(_CALLS, min_size=1, max_size=12), st.sampled_from([0, 1_000_000]))
async def test_whatever_comes_together_is_answered_as_if_alone(
    calls: list[tuple[str, bytes, bytes]], inline_us_max: int
) -> None:
    asking = Asking(inline_us_max)
    try:
        together = await asking.turn(calls)
        alone = [(await asking.turn([call]))[0] for call in calls]
    finally:
        await asking.house.close()
    assert together == alone
