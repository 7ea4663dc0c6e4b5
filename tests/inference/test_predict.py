"""A whole turn's batch is answered, each caller by its own row."""

from dataclasses import replace
from functools import partial
from math import exp

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from contracts.frames import Answer
from inference.predict import LARGE_ROWS
from inference.route import EXPLAINED_ROWS_MAX
from tests.inference.parts import House, asks, body, defaults, logistic_model, required
from tests.polling import until


def sigmoid(z: float) -> float:
    return 1 / (1 + exp(-z))


async def test_a_row_is_answered_by_the_model_on_its_features(house: House) -> None:
    (answer,) = await house.ask(body("a"))
    assert answer.status == 200
    told = orjson.loads(answer.body)
    assert told["model"] == "risk"
    assert told["version"] == "1"
    assert told["variant"] == "production"
    assert told["request_id"] == "0" * 32
    assert told["cache"] == "off"
    assert told["predictions"] == [
        {
            "prediction": 1,
            "probability": pytest.approx(sigmoid(1.0), abs=1e-6),
            "decision": "positive",
        }
    ]


async def test_callers_of_one_turn_share_one_look_up_and_get_their_own_rows(house: House) -> None:
    answers = await house.ask(body("a"), body("b", "c"), body("c"))
    told = [orjson.loads(answer.body)["predictions"] for answer in answers]
    assert house.reader.calls == 1
    scores = [[row["probability"] for row in rows] for rows in told]
    assert scores == [
        [pytest.approx(sigmoid(1.0), abs=1e-6)],
        [pytest.approx(sigmoid(2.0), abs=1e-6), pytest.approx(sigmoid(-3.0), abs=1e-6)],
        [pytest.approx(sigmoid(-3.0), abs=1e-6)],
    ]


async def test_what_was_answered_was_recorded_before(house: House) -> None:
    answers = await house.ask(body("a", "c"))
    (batch,) = house.spool.batches
    assert batch.model == "risk"
    assert batch.units == ("a", "c")
    assert batch.row.tolist() == [0, 1]
    assert batch.outcome.tolist() == [0, 0]
    assert batch.predicted.tolist() == [1, 0]
    told = orjson.loads(answers[0].body)["predictions"]
    assert batch.score.tolist() == [row["probability"] for row in told]
    assert batch.numbers["f3"].tolist() == [1.0, -3.0]
    assert batch.statuses["f3"].tolist() == [0, 0]


async def test_no_answer_leaves_before_its_record_is_written(house: House) -> None:
    other = house.load("2", logistic_model([-0.1] * 10))
    house.serve(house.fleet.versions["risk", "1"], other, weights=(0.5, 0.5), salt="s")
    house.reader.values = {f"u{index}": [1.0] * 10 for index in range(20)}
    answered: list[str] = []

    def note(unit: str, _: Answer) -> None:
        assert unit in {one for batch in house.spool.batches for one in batch.units}
        answered.append(unit)

    units = list(house.reader.values)  # of both versions: two records
    arrivals, _ = asks([body(unit) for unit in units], house.clock.monotonic_ns())
    await house.predict.answer(
        [
            replace(arrival, reply=partial(note, unit))
            for arrival, unit in zip(arrivals, units, strict=True)
        ]
    )
    assert sorted(answered) == sorted(units)
    assert len(house.spool.batches) == 2


async def test_a_sample_of_rows_is_logged_with_what_replays_it(house: House) -> None:
    for _ in range(64):
        await house.ask(body("b", "a"))
    (lineage,) = [one for batch in house.spool.batches for one in batch.lineage]
    assert lineage["watermark"] == 41
    assert lineage["keys"] == {"account": "b"}
    assert lineage["refs"]["f3"] == "stats:f3"
    assert lineage["fingerprint"] == house.load("1").manifest.feature_fingerprint


async def test_sampled_traces_are_linked_to_the_batch_they_shared(house: House) -> None:
    traces = [f"00-{'a' * 32}-{index:016x}-0{index % 2}" for index in range(1, 4)]
    with capture_logs() as lines:
        await house.ask(body("a"), body("b"), body("a", "b"), body("c"), traceparents=[*traces, ""])
        await house.ask(body("a"))
    (linked,) = [line for line in lines if line["event"] == "batch_answered"]
    assert linked["links"] == [traces[0], traces[2]]
    assert (linked["rows"], linked["version"], len(linked["batch"])) == (5, "1", 16)


async def test_an_unknown_entity_is_answered_and_the_answer_says_so(house: House) -> None:
    house.serve(house.load("2", inputs=defaults(0.5)))
    (answer,) = await house.ask(body("nobody"))
    told = orjson.loads(answer.body)
    assert answer.status == 200
    assert told["predictions"][0]["probability"] == pytest.approx(sigmoid(0.5), abs=1e-6)
    assert {"feature": "f0", "status": "DEFAULTED", "rows": 1} in told["degraded"]


async def test_a_store_that_is_away_degrades_the_answer(house: House) -> None:
    house.serve(house.load("2", inputs=defaults(0.5)))
    house.reader.away = True
    (answer,) = await house.ask(body("a"))
    told = orjson.loads(answer.body)
    assert answer.status == 200
    assert told["degraded"][0]["status"] == "UNAVAILABLE"
    (batch,) = house.spool.batches
    assert batch.flags.tolist() == [4]
    assert batch.statuses["f0"].tolist() == [5]


async def test_a_required_feature_without_value_refuses_only_its_row(house: House) -> None:
    house.serve(house.load("2", inputs=required()))
    fine, bad, both = await house.ask(body("a"), body("nobody"), body("nobody", "b"))
    assert fine.status == 200
    assert bad.status == 422
    assert orjson.loads(bad.body)["code"] == "feature-missing"
    rows = orjson.loads(both.body)["predictions"]
    assert rows[0]["error"]["code"] == "feature-missing"
    assert rows[1]["probability"] == pytest.approx(sigmoid(2.0), abs=1e-6)


async def test_what_a_row_lacks_is_named_but_not_without_end(house: House) -> None:
    inputs = [required()[0], *defaults(0.0)[1:]]
    house.serve(house.load("2", inputs=inputs))
    one, row = await house.ask(body("nobody"), body("nobody", "b"))
    assert orjson.loads(one.body)["detail"].endswith("for this entity. Without one: f0.")
    told = orjson.loads(row.body)["predictions"][0]["error"]["detail"]
    assert told == orjson.loads(one.body)["detail"]
    house.serve(house.load("3", inputs=required()))
    (many,) = await house.ask(body("nobody"))
    assert orjson.loads(many.body)["detail"].endswith(" Without one: f0, f1, f2, f3, f4, ….")


async def test_a_required_feature_whose_store_is_away_is_a_dependency_problem(
    house: House,
) -> None:
    house.serve(house.load("2", inputs=required()))
    house.reader.away = True
    (answer,) = await house.ask(body("a"))
    assert answer.status == 503
    assert b"retry-after: 1" in answer.headers
    assert orjson.loads(answer.body)["code"] == "dependency-unavailable"


async def test_explained_features_carry_value_status_and_age(house: House) -> None:
    (answer,) = await house.ask(body("a", "nobody"), explain=True)
    features = orjson.loads(answer.body)["features"]
    assert features[0]["f0"] == {"value": 1.0, "status": "PRESENT", "age_s": 1.0}
    assert features[1]["f0"] == {"value": None, "status": "NOT_FOUND", "age_s": None}


async def test_so_many_rows_are_explained_and_no_more(house: House) -> None:
    (some,) = await house.ask(body(*["a"] * EXPLAINED_ROWS_MAX), explain=True)
    assert len(orjson.loads(some.body)["features"]) == EXPLAINED_ROWS_MAX
    (more,) = await house.ask(body(*["a"] * (EXPLAINED_ROWS_MAX + 1)), explain=True)
    assert more.status == 422
    assert orjson.loads(more.body)["errors"][0]["pointer"] == "/instances"


async def test_rows_of_one_request_are_answered_by_the_arms_of_their_units(house: House) -> None:
    other = house.load("2", logistic_model([-0.1] * 10))
    house.serve(house.fleet.versions["risk", "1"], other, weights=(0.5, 0.5), salt="s")
    house.reader.values = {f"u{index}": [1.0] * 10 for index in range(40)}
    (answer,) = await house.ask(body(*house.reader.values))
    told = orjson.loads(answer.body)
    assert told["version"] is None
    versions = [row["version"] for row in told["predictions"]]
    assert set(versions) == {"1", "2"}
    for row in told["predictions"]:
        sign = 1.0 if row["version"] == "1" else -1.0
        assert row["probability"] == pytest.approx(sigmoid(sign), abs=1e-6)
    again = orjson.loads((await house.ask(body(*house.reader.values)))[0].body)
    assert [row["version"] for row in again["predictions"]] == versions
    assert sorted(len(batch) for batch in house.spool.batches[:2]) == sorted(
        [versions.count("1"), versions.count("2")]
    )


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b"", 400, "malformed-json"),
        (b"{", 400, "malformed-json"),
        (b'{"instances":[{"account":NaN}]}', 400, "malformed-json"),
        (b"[]", 422, "invalid-input"),
        (b"{}", 422, "invalid-input"),
        (b'{"instances":[]}', 422, "invalid-input"),
        (b'{"instances":{}}', 422, "invalid-input"),
        (b'{"instances":[1]}', 422, "invalid-input"),
        (b'{"instances":[{}]}', 422, "invalid-input"),
        (b'{"instances":[{"account":1}]}', 422, "invalid-input"),
        (b'{"instances":[{"account":true}]}', 422, "invalid-input"),
        (b'{"instances":[{"account":["a"]}]}', 422, "invalid-input"),
    ],
)
async def test_bad_input_is_a_problem_and_costs_its_neighbours_nothing(
    house: House, content: bytes, status: int, code: str
) -> None:
    bad, good = await house.ask(content, body("b"))
    assert (bad.status, orjson.loads(bad.body)["code"]) == (status, code)
    assert good.status == 200
    assert [batch.units for batch in house.spool.batches] == [("b",)]


def unread(*cells: str) -> bytes:
    rows = ",".join(f'{{"account":"a",{cell}}}' for cell in cells)
    return f'{{"model":"risk","instances":[{rows}]}}'.encode()


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (unread('"x":1')[:-1], 400, "malformed-json"),
        (unread('"x":NaN'), 400, "malformed-json"),
        (unread('"x":1,"x":2'), 400, "malformed-json"),
        (unread('"x":1')[:-1] + b',"model":"other"}', 400, "malformed-json"),
        (unread('"x":1')[:-1] + b',"more":1}', 422, "invalid-input"),
        (unread('"x":1', '"x":[]'), 422, "invalid-input"),
        (unread('"x":1', '"x":{}'), 422, "invalid-input"),
    ],
)
async def test_what_nobody_has_read_is_read_strictly_and_costs_no_rows(
    house: House, content: bytes, status: int, code: str
) -> None:
    (bad,) = await house.ask(content, glanced=True)
    assert (bad.status, orjson.loads(bad.body)["code"], bad.rows) == (status, code, 0)
    assert house.spool.batches == []


async def test_an_answer_says_for_how_many_rows_it_is(house: House) -> None:
    for content, rows in ((unread('"x":1', '"x":"{{[["'), 2), (unread('"account":[2]'), 0)):
        (answer,) = await house.ask(content, glanced=True)
        assert answer.rows == rows
    misfits = {"model": "risk", "instances": [{"account": 1}] * 3}
    (answer,) = await house.ask(misfits, glanced=True)
    assert (answer.status, answer.rows) == (422, 3)


async def test_a_row_that_does_not_fit_answers_for_itself(house: House) -> None:
    rows = [{"account": "a"}, {"account": 1}, {}, {"account": "b"}]
    (answer,) = await house.ask({"instances": rows})
    assert answer.status == 200
    told = orjson.loads(answer.body)
    assert told["version"] == "1"
    first, second, third, fourth = told["predictions"]
    assert first["probability"] == pytest.approx(sigmoid(1.0), abs=1e-6)
    assert second["error"]["errors"] == [{"pointer": "/instances/1/account", "code": "wrong-type"}]
    assert third["error"]["errors"] == [{"pointer": "/instances/2/account", "code": "missing"}]
    assert fourth["probability"] == pytest.approx(sigmoid(2.0), abs=1e-6)
    (batch,) = house.spool.batches
    assert batch.row.tolist() == [0, 3]


async def test_a_request_of_which_no_row_fits_is_refused_with_bounded_errors(
    house: House,
) -> None:
    (answer,) = await house.ask({"instances": [{"account": 1}] * 50})
    assert answer.status == 422
    told = orjson.loads(answer.body)
    errors = told["errors"]
    assert "/instances/0/account is to be a text of at most 4096 characters; " in told["detail"]
    assert len(errors) == 20
    assert errors[7] == {"pointer": "/instances/7/account", "code": "wrong-type"}
    assert house.spool.batches == []


async def test_an_unknown_model_is_not_found(house: House) -> None:
    (answer,) = await house.ask(body("a"), model="other")
    assert answer.status == 404


def dumped(value: object) -> bytes:
    try:
        return orjson.dumps(value)
    except TypeError:  # an integer beyond 64 bits
        return b'{"instances":[{"account":' + str(10**400).encode() + b"}]}"


scalars = st.none() | st.booleans() | st.floats(allow_nan=False) | st.integers() | st.text()
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
instances = st.dictionaries(st.sampled_from(["account", "x"]), values, max_size=2)
bodies = (
    st.binary(max_size=40)
    | values.map(dumped)
    | st.lists(instances, max_size=3).map(lambda rows: dumped({"instances": rows}))
)


@settings(max_examples=60, deadline=None)
@given(st.lists(bodies, min_size=1, max_size=5))
async def test_no_body_makes_a_server_error(several: list[bytes]) -> None:
    house = House()
    house.reader.values = {"a": [1.0] * 10}
    house.serve(house.load())
    answers = await house.ask(*several, body("a"))
    assert all(answer.status < 500 for answer in answers)
    assert answers[-1].status == 200
    await house.close()


async def test_who_asks_for_few_rows_does_not_wait_for_who_asks_for_very_many(
    house: House,
) -> None:
    many = body(*["a"] * (2 * LARGE_ROWS))
    arrivals, answers = asks(
        [many, body("b"), many, body("c")], house.clock.monotonic_ns(), glanced=True
    )
    house.predict.submit(arrivals)
    await until(lambda: len(answers) == 4)
    assert list(answers) == [1, 3, 0, 2]
    assert [answers[place].status for place in range(4)] == [200] * 4
    for place, rows in ((0, 2 * LARGE_ROWS), (1, 1)):
        assert len(orjson.loads(answers[place].body)["predictions"]) == rows


async def test_who_left_while_many_rows_waited_costs_nothing(house: House) -> None:
    many = body(*["a"] * (2 * LARGE_ROWS))
    arrivals, answers = asks([many, many], house.clock.monotonic_ns(), glanced=True)
    house.predict.submit(arrivals)
    arrivals[1].wanted = False
    await until(lambda: 0 in answers)
    await until(lambda: not house.tasks.names)
    assert sum(map(len, house.spool.batches)) == 2 * LARGE_ROWS
    assert list(answers) == [0]
