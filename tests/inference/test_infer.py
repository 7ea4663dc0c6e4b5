"""The Open Inference Protocol: every datatype, both forms, exact errors."""

import gzip
import zlib
from dataclasses import replace
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.served import OUTCOMES
from inference.domain.raw_call import Call
from inference.domain.tensors import from_binary, to_binary
from tests.inference.asking import Asking
from tests.inference.raw_models import (
    SAMPLES,
)


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


async def test_a_model_that_takes_nothing_is_served(asking: Asking) -> None:
    status, told = await asking.post("/v2/models/constant/infer", {"inputs": []})
    assert (status, told["outputs"][0]["data"]) == (200, [1.0])


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
    status, told = await asking.get("/v2/models/centred/config")
    assert (told["max_batch_size"], told["input"][0]["dims"]) == (0, [-1, 2]), "no axis of rows"
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
    assert len(everyone[1]["model_stats"]) == len(asking.fleet.versions)


async def test_a_call_is_recorded_with_its_version(asking: Asking) -> None:
    index = {"name": "index", "shape": [1], "datatype": "INT64", "data": [1]}
    await asking.post("/v2/models/gather/infer", {"inputs": [index], "parameters": {"unit": "me"}})
    (batch,) = asking.house.spool.batches
    assert (batch.model, batch.version, batch.units) == ("gather", "1", ("me",))
    assert batch.score.tolist() == [20.0]
    assert OUTCOMES[batch.outcome[0]] == "ok"


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
