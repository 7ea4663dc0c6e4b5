"""``python triton.py HOST:PORT``: tritonclient, sync and aio, as it comes from PyPI.

Echoes every datatype in both forms and both encodings; prints what it saw as JSON.
"""

import asyncio
import json
import sys
from typing import Any

import numpy as np
import tritonclient.http as sync_client
import tritonclient.http.aio as aio_client
from tritonclient.utils import InferenceServerException

SAMPLES: dict[str, Any] = {
    "BOOL": np.array([[True, False], [False, True]]),
    "UINT8": np.array([[0, 255], [1, 2]], np.uint8),
    "UINT16": np.array([[0, 65535], [1, 2]], np.uint16),
    "UINT32": np.array([[0, 2**32 - 1], [1, 2]], np.uint32),
    "UINT64": np.array([[0, 2**64 - 1], [1, 2]], np.uint64),
    "INT8": np.array([[-128, 127], [1, 2]], np.int8),
    "INT16": np.array([[-(2**15), 2**15 - 1], [1, 2]], np.int16),
    "INT32": np.array([[-(2**31), 2**31 - 1], [1, 2]], np.int32),
    "INT64": np.array([[-(2**63), 2**63 - 1], [1, 2]], np.int64),
    "FP16": np.array([[0.5, -2.0], [65504.0, 0.0]], np.float16),
    "FP32": np.array([[0.5, -2.5], [3e38, 0.1]], np.float32),
    "FP64": np.array([[0.1, -2.5], [1e300, 0.0]], np.float64),
    "BYTES": np.array([["", "a"], ["żółć", "line\nbreak"]], object),
}


def inputs(module: Any, binary: bool) -> list[Any]:
    made = []
    for datatype, value in SAMPLES.items():
        one = module.InferInput(f"in_{datatype.lower()}", [2, 2], datatype)
        one.set_data_from_numpy(value, binary_data=binary or datatype == "FP16")
        made.append(one)
    return made


def outputs(module: Any, binary: bool) -> list[Any]:
    return [
        module.InferRequestedOutput(f"out_{name.lower()}", binary_data=binary or name == "FP16")
        for name in SAMPLES
    ]


def check(result: Any) -> None:
    for datatype, value in SAMPLES.items():
        got = result.as_numpy(f"out_{datatype.lower()}")
        if datatype == "BYTES":
            got = np.array(
                [one.decode() if isinstance(one, bytes) else one for one in got.reshape(-1)], object
            ).reshape(2, 2)
        np.testing.assert_array_equal(got, value)


def run_sync(address: str) -> dict[str, Any]:
    client = sync_client.InferenceServerClient(address)
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("echo")
    assert client.is_model_ready("echo", "1")
    assert not client.is_model_ready("absent")
    assert client.get_server_metadata()["name"] == "leadline"
    assert client.get_model_metadata("echo")["versions"] == ["1"]
    assert client.get_model_config("echo")["name"] == "echo"
    assert {"name": "echo", "version": "1", "state": "READY", "reason": ""} in (
        client.get_model_repository_index()
    )
    calls = 0
    for binary in (True, False):
        for algorithm in (None, "gzip", "deflate"):
            result = client.infer(
                "echo",
                inputs(sync_client, binary),
                outputs=outputs(sync_client, binary),
                request_id=str(calls),
                request_compression_algorithm=algorithm,
                response_compression_algorithm=algorithm,
            )
            check(result)
            assert result.get_response()["id"] == str(calls)
            calls += 1
    check(client.async_infer("echo", inputs(sync_client, True)).get_result())
    stats = client.get_inference_statistics("echo")["model_stats"][0]["inference_stats"]
    assert stats["success"]["count"] == calls + 1
    message = ""
    try:
        client.infer("echo", inputs(sync_client, True)[:1])
    except InferenceServerException as error:
        message = str(error)
    client.close()
    return {"calls": calls, "error": message}


async def run_aio(address: str) -> dict[str, Any]:
    calls = 0
    async with aio_client.InferenceServerClient(address) as client:
        assert await client.is_server_ready()
        for binary in (True, False):
            for algorithm in (None, "gzip", "deflate"):
                result = await client.infer(
                    "echo",
                    inputs(aio_client, binary),
                    outputs=outputs(aio_client, binary),
                    request_compression_algorithm=algorithm,
                    response_compression_algorithm=algorithm,
                )
                check(result)
                calls += 1
    return {"calls": calls}


if __name__ == "__main__":
    print(json.dumps({"sync": run_sync(sys.argv[1]), "aio": asyncio.run(run_aio(sys.argv[1]))}))
