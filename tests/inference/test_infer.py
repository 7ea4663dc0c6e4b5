"""The Open Inference Protocol: every datatype, both forms, exact errors."""

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.frames import Answer, Ask
from contracts.routing import Arm, ModelRoute, RoutingTable
from contracts.served import OUTCOMES
from inference.describe import Describe
from inference.domain.asked import Arrival
from inference.domain.fleet import Fleet, fleet_of
from inference.domain.open_inference import KEPT_MAX
from inference.domain.raw_call import Call
from inference.domain.tensors import from_binary, to_binary
from inference.infer import Infer
from inference.record import Record
from tests.inference.parts import House
from tests.inference.raw_models import (
    SAMPLES,
    echo_model,
    gather_model,
    product_model,
    raw_manifest,
    table_model,
    total_model,
)
from tests.polling import until


class Asking:
    """The verb with four models without features, and a model with features."""

    def __init__(self, inline_us_max: int = 1_000_000) -> None:
        self.house = House(inline_us_max=inline_us_max)
        house = self.house
        house.reader.values = {"a": [1.0] * 10}
        models = {
            "echo": echo_model(),
            "gather": gather_model(),
            "product": product_model(),
            "table": table_model(),
            "total": total_model(),
        }
        versions = {
            (name, "1"): house.builder.build(
                raw_manifest(content, name), "1", {"model.onnx": content}
            )
            for name, content in models.items()
        }
        versions["risk", "1"] = house.load()
        routes = {
            name: ModelRoute(arms=(Arm(version="1", variant="production", weight=1.0),))
            for name, _ in versions
        }
        self.fleet = fleet_of(RoutingTable(epoch=1, models=routes), versions, Fleet())
        self.infer = Infer(
            fleet=lambda: self.fleet,
            record=Record(house.spool).raw,
            describe=Describe(fleet=lambda: self.fleet, ready=list, server_version="9"),
            paces=house.paces,
            clock=house.clock,
            tasks=house.tasks,
            rows_in_flight_max=10_000,
        )

    async def call(self, method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        deadline_ns = self.house.clock.monotonic_ns() + 10**9
        return await self.infer.handle(Call(method, path, named, body, b"r" * 16, deadline_ns))

    async def turn(self, calls: Sequence[tuple[str, bytes, bytes]]) -> list[Answer]:
        """Answers to (path, headers, body) that come over frames in one turn, in their order."""
        arrivals, answers = self.arrivals(calls)
        self.infer.submit(arrivals)
        await until(lambda: len(answers) == len(calls))
        assert all(not loaded.in_use for loaded in self.fleet.versions.values())
        assert self.house.paces.pending == 0
        return [answers[index] for index in range(len(calls))]

    def arrivals(
        self, calls: Sequence[tuple[str, bytes, bytes]], remaining_ms: int = 1_000
    ) -> tuple[list[Arrival], dict[int, Answer]]:
        """The same, on their way, and where their answers will be."""
        answers: dict[int, Answer] = {}
        now_ns = self.house.clock.monotonic_ns()

        def keep(index: int, answer: Answer) -> None:
            assert index not in answers, "answered twice"
            answers[index] = answer

        return [
            Arrival(
                Ask(
                    remaining_ms, index.to_bytes(16, "big"), f"POST {path}", "ann", "", lines, body
                ),
                now_ns,
                partial(keep, index),
            )
            for index, (path, lines, body) in enumerate(calls)
        ], answers

    async def get(self, path: str) -> tuple[int, Any]:
        answer = await self.call("GET", path)
        return answer.status, orjson.loads(answer.body)

    async def post(self, path: str, content: Any, **headers: str) -> tuple[int, Any]:
        body = content if isinstance(content, bytes) else orjson.dumps(content)
        answer = await self.call("POST", path, body, **headers)
        return answer.status, orjson.loads(answer.body)


@pytest.fixture
async def asking() -> AsyncIterator[Asking]:
    built = Asking()
    yield built
    await built.house.close()


def as_json(datatype: str, tensor: Any) -> dict[str, Any]:
    return {
        "name": f"in_{datatype.lower()}",
        "shape": list(tensor.shape),
        "datatype": datatype,
        "data": tensor.tolist(),
    }


async def test_a_model_that_is_not_loaded_yet_may_be_asked_elsewhere(asking: Asking) -> None:
    asking.fleet = replace(asking.fleet, missing=frozenset({"late"}))
    answer = await asking.call("POST", "/v2/models/late/infer", b"{}")
    assert (answer.status, answer.retryable) == (503, True)
    assert orjson.loads(answer.body) == {"error": "model 'late' is not loaded yet"}
    answer = await asking.call("POST", "/v2/models/unknown/infer", b"{}")
    assert (answer.status, answer.retryable) == (404, False)


async def test_every_datatype_comes_back_as_json(asking: Asking) -> None:
    inputs = [as_json(datatype, tensor) for datatype, tensor in SAMPLES.items()]
    status, told = await asking.post("/v2/models/echo/infer", {"id": "7", "inputs": inputs})
    assert status == 200
    assert (told["model_name"], told["model_version"], told["id"]) == ("echo", "1", "7")
    for output in told["outputs"]:
        expected = SAMPLES[output["datatype"]]
        assert output["shape"] == [2, 2]
        assert output["data"] == expected.reshape(-1).tolist(), output["name"]


async def test_every_datatype_comes_back_as_bytes(asking: Asking) -> None:
    blobs = {datatype: to_binary(tensor) for datatype, tensor in SAMPLES.items()}
    inputs = [
        {
            "name": f"in_{datatype.lower()}",
            "shape": [2, 2],
            "datatype": datatype,
            "parameters": {"binary_data_size": len(blob)},
        }
        for datatype, blob in blobs.items()
    ]
    head = orjson.dumps({"inputs": inputs, "parameters": {"binary_data_output": True}})
    answer = await asking.call(
        "POST",
        "/v2/models/echo/versions/1/infer",
        b"".join([head, *blobs.values()]),
        inference_header_content_length=str(len(head)),
    )
    assert answer.status == 200
    headers = dict(line.split(": ") for line in answer.headers.decode().splitlines())
    assert headers["content-type"] == "application/octet-stream"
    at = int(headers["inference-header-content-length"])
    told = orjson.loads(answer.body[:at])
    assert "id" not in told
    for output in told["outputs"]:
        size = output["parameters"]["binary_data_size"]
        got = from_binary(
            output["name"], output["datatype"], output["shape"], answer.body[at : at + size]
        )
        at += size
        np.testing.assert_array_equal(got, SAMPLES[output["datatype"]])
    assert at == len(answer.body)


async def test_a_call_that_is_too_late_may_come_again(asking: Asking) -> None:
    inputs = [as_json(datatype, tensor) for datatype, tensor in SAMPLES.items()]
    body = orjson.dumps({"inputs": inputs})
    call = Call("POST", "/v2/models/echo/infer", {}, body, b"r" * 16, deadline_ns=0)
    answer = await asking.infer.handle(call)
    assert (answer.status, b"\nretry-after: 1" in answer.headers) == (503, True)


async def test_numbers_that_json_cannot_say_become_null(asking: Asking) -> None:
    body = {"inputs": [as_json(name, tensor) for name, tensor in SAMPLES.items()]}
    next(one for one in body["inputs"] if one["datatype"] == "FP32")["data"] = [None, 1, 2, 3]
    status, told = await asking.post("/v2/models/echo/infer", body)
    assert status == 200
    (output,) = [one for one in told["outputs"] if one["datatype"] == "FP32"]
    assert output["data"] == [None, 1.0, 2.0, 3.0]


async def test_only_the_outputs_asked_for_come_back(asking: Asking) -> None:
    body = {
        "inputs": [as_json(name, tensor) for name, tensor in SAMPLES.items()],
        "outputs": [
            {"name": "out_int8"},
            {"name": "out_fp32", "parameters": {"classification": 1}},
        ],
    }
    status, told = await asking.post("/v2/models/echo/infer", body)
    assert status == 200
    assert [one["name"] for one in told["outputs"]] == ["out_int8", "out_fp32"]
    assert told["outputs"][1]["datatype"] == "BYTES"
    assert told["outputs"][1]["data"][0] == "0.500000:0"


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_compressed_bodies_are_read_and_written_when_asked(
    asking: Asking, encoding: str
) -> None:
    plain = orjson.dumps(
        {"inputs": [{"name": "index", "shape": [1], "datatype": "INT64", "data": [2]}]}
    )
    packed = gzip.compress(plain) if encoding == "gzip" else zlib.compress(plain)
    answer = await asking.call(
        "POST", "/v2/models/gather/infer", packed,
        content_encoding=encoding, accept_encoding=encoding,
    )  # fmt: skip
    assert answer.status == 200
    assert f"content-encoding: {encoding}".encode() in answer.headers
    unpacked = zlib.decompress(answer.body, 32 + zlib.MAX_WBITS)
    assert orjson.loads(unpacked)["outputs"][0]["data"] == [30.0]


async def test_a_model_whose_inputs_share_no_axis_is_served(asking: Asking) -> None:
    a = {"name": "a", "shape": [1, 3], "datatype": "FP32", "data": [[1, 2, 3]]}
    b = {"name": "b", "shape": [3, 2], "datatype": "FP32", "data": [1, 0, 0, 1, 1, 1]}
    status, told = await asking.post("/v2/models/product/infer", {"inputs": [a, b]})
    assert status == 200
    assert told["outputs"] == [
        {"name": "c", "datatype": "FP32", "shape": [1, 2], "data": [4.0, 5.0]}
    ]


async def test_a_model_with_features_takes_its_inputs_after_features(asking: Asking) -> None:
    matrix = {
        "name": "input",
        "shape": [2, 10],
        "datatype": "FP32",
        "data": [0.0] * 10 + [1.0] * 10,
    }
    status, told = await asking.post("/v2/models/risk/infer", {"inputs": [matrix]})
    assert status == 200
    assert told["outputs"][0]["shape"] == [2, 2]
    assert told["outputs"][0]["data"][:2] == [0.5, 0.5]


async def test_the_server_describes_itself(asking: Asking) -> None:
    assert await asking.get("/v2/health/live") == (200, {"live": True})
    assert await asking.get("/v2/health/ready") == (200, {"live": True, "ready": True})
    status, told = await asking.get("/v2")
    assert (status, told["name"], told["version"]) == (200, "leadline", "9")
    assert "binary_tensor_data" in told["extensions"]
    assert await asking.get("/v2/models/echo/ready") == (200, {"name": "echo", "ready": True})
    status, told = await asking.get("/v2/models/gather/versions/1")
    assert told == {
        "name": "gather",
        "versions": ["1"],
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": "index", "datatype": "INT64", "shape": [-1]}],
        "outputs": [{"name": "value", "datatype": "FP32", "shape": [-1]}],
    }
    status, told = await asking.get("/v2/models/echo/config")
    assert told["max_batch_size"] == 128
    assert {"name": "in_bytes", "data_type": "TYPE_STRING", "dims": [2]} in told["input"]
    status, told = await asking.post("/v2/repository/index", b"")
    assert {"name": "echo", "version": "1", "state": "READY", "reason": ""} in told


async def test_statistics_count_what_was_inferred(asking: Asking) -> None:
    index = {"name": "index", "shape": [3], "datatype": "INT64", "data": [0, 1, 2]}
    await asking.post("/v2/models/gather/infer", {"inputs": [index]})
    await asking.post("/v2/models/gather/infer", {"inputs": [{**index, "data": [0, 1, 9]}]})
    _, told = await asking.get("/v2/models/gather/stats")
    (stats,) = told["model_stats"]
    assert set(stats["inference_stats"]) == {
        "success", "fail", "queue", "compute_input", "compute_infer", "compute_output",
        "cache_hit", "cache_miss",
    }  # fmt: skip
    assert stats["inference_stats"]["success"]["count"] == 1
    assert stats["inference_stats"]["fail"]["count"] == 1
    assert stats["inference_stats"]["compute_infer"]["ns"] > 0
    everyone = await asking.get("/v2/models/stats")
    assert len(everyone[1]["model_stats"]) == 6


async def test_a_call_is_recorded_with_its_version(asking: Asking) -> None:
    index = {"name": "index", "shape": [1], "datatype": "INT64", "data": [1]}
    await asking.post("/v2/models/gather/infer", {"inputs": [index], "parameters": {"unit": "me"}})
    (batch,) = asking.house.spool.batches
    assert (batch.model, batch.version, batch.units) == ("gather", "1", ("me",))
    assert batch.score.tolist() == [20.0]
    assert OUTCOMES[batch.outcome[0]] == "ok"


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


async def test_a_tensor_of_nothing_is_computed_however_long_it_says_it_is(asking: Asking) -> None:
    body = {"inputs": [{"name": "x", "shape": [2**26, 0], "datatype": "FP32", "data": []}]}
    status, told = await asking.post("/v2/models/table/infer", body)
    assert (status, told["outputs"][0]["shape"]) == (200, [2**26, 0])


TABLE = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1.5, 2.5]}
INDEX = {"name": "index", "shape": [1], "datatype": "INT64", "data": [1]}


@pytest.mark.parametrize(
    ("path", "content", "status"),
    [
        ("/v2/models/none/infer", {}, 404),
        ("/v2/models/gather/versions/9/infer", {}, 404),
        ("/v2/nothing", {}, 404),
        ("/v2/models/risk/infer", {}, 400),
        ("/v2/models/risk/infer", {"inputs": [{"name": "account"}]}, 400),
        ("/v2/models/gather/infer", b"{", 400),
        ("/v2/models/gather/infer", [], 400),
        ("/v2/models/gather/infer", {}, 400),
        ("/v2/models/gather/infer", {"inputs": [{**INDEX, "name": "other"}]}, 400),
        ("/v2/models/gather/infer", {"inputs": [INDEX, INDEX]}, 400),
        ("/v2/models/gather/infer", {"inputs": [{**INDEX, "datatype": "FP32"}]}, 400),
        ("/v2/models/gather/infer", {"inputs": [{**INDEX, "shape": [2]}]}, 400),
        ("/v2/models/gather/infer", {"inputs": [{**INDEX, "shape": [-1]}]}, 400),
        ("/v2/models/gather/infer", {"inputs": [{**INDEX, "shape": [1, 1]}]}, 400),
        ("/v2/models/gather/infer", {"inputs": [{**INDEX, "data": [1.5]}]}, 400),
        ("/v2/models/gather/infer", {"inputs": [{**INDEX, "data": [True]}]}, 400),
        ("/v2/models/gather/infer", {"inputs": [{**INDEX, "data": [2**64 - 1]}]}, 400),
        ("/v2/models/gather/infer", {"inputs": [{**INDEX, "data": [99]}]}, 400),
        ("/v2/models/gather/infer", {"inputs": [INDEX], "outputs": [{"name": "x"}]}, 400),
        ("/v2/models/gather/infer", {"inputs": [INDEX], "id": 7}, 400),
        ("/v2/models/table/infer", {"inputs": [TABLE], "outputs": [{"name": "y"}] * 2}, 400),
        ("/v2/models/table/infer", {"inputs": [{**TABLE, "shape": [2**63, 0], "data": []}]}, 400),
        ("/v2/models/table/infer", {"inputs": [{**TABLE, "data": [1, 1e39]}]}, 400),
        ("/v2/models/table/infer", {"inputs": [TABLE], "parameters": {"unit": 7}}, 400),
        ("/v2/models/table/infer", {"inputs": [TABLE], "parameters": {"unit": "u" * 5000}}, 400),
        ("/v2/models/table/infer", {"inputs": [{**TABLE, "data": [1, 1e308]}]}, 400),
        (
            "/v2/models/table/infer",
            {
                "inputs": [{**TABLE, "shape": [3, 0], "data": []}],
                "outputs": [{"name": "y", "parameters": {"classification": 1}}],
            },
            400,
        ),
    ],
)
async def test_an_error_is_one_text(asking: Asking, path: str, content: Any, status: int) -> None:
    body = content if isinstance(content, bytes) else orjson.dumps(content)
    answer = await asking.call("POST", path, body)
    told = orjson.loads(answer.body)
    assert (answer.status, list(told)) == (status, ["error"])
    assert type(told["error"]) is str
    assert answer.headers == b"content-type: application/json"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/v2", b"GET, HEAD"),
        ("POST", "/v2/models/stats", b"GET, HEAD"),
        ("POST", "/v2/models/gather/ready", b"GET, HEAD"),
        ("GET", "/v2/models/gather/infer", b"POST"),
        ("PUT", "/v2/models/gather/versions/1/infer", b"POST"),
        ("GET", "/v2/repository/index", b"POST"),
    ],
)
async def test_another_method_is_told_which_the_path_takes(
    asking: Asking, method: str, path: str, allowed: bytes
) -> None:
    answer = await asking.call(method, path)
    assert (answer.status, list(orjson.loads(answer.body))) == (405, ["error"])
    assert answer.headers == b"content-type: application/json\nallow: " + allowed


@settings(max_examples=150, deadline=None)
@given(
    st.binary(max_size=60),
    st.sampled_from(["index", "in_fp32", "x"]),
    st.lists(st.integers(-2, 3), max_size=3),
    st.sampled_from(["INT64", "BYTES", "FP32", "?"]),
    st.none() | st.integers(-1, 40),
    st.none() | st.text(max_size=4) | st.integers(-1, 400).map(str),
)
async def test_no_body_makes_a_server_error(
    tail: bytes, name: str, shape: list[int], datatype: str, size: int | None, length: str | None
) -> None:
    asking = Asking() if not _SHARED else _SHARED[0]
    _SHARED[:] = [asking]
    entry: dict[str, Any] = {"name": name, "shape": shape, "datatype": datatype}
    if size is not None:
        entry["parameters"] = {"binary_data_size": size}
    else:
        entry["data"] = list(tail[:6])
    head = orjson.dumps({"inputs": [entry]})
    headers = {} if length is None else {"inference_header_content_length": length}
    if length is not None and tail[:1] < b"\x80":
        headers = {"inference_header_content_length": str(len(head))}
    answer = await asking.call("POST", "/v2/models/gather/infer", head + tail, **headers)
    assert answer.status < 500


_SHARED: list[Asking] = []
