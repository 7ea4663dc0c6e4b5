"""The published clients of the Open Inference Protocol, through the gateway, to a real replica."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from fastapi import FastAPI
from tritonclient.utils import InferenceServerException

from contracts.routing import Arm, ModelRoute, RoutingTable
from inference.app import Inference
from inference.settings import InferenceSettings
from tests.gateway.running import Running, make_key, running_gateway
from tests.inference.raw_models import SAMPLES, echo_model, raw_manifest
from tests.polling import until


@pytest.fixture
async def chain(tmp_path: Path, redis_url: str) -> AsyncIterator[tuple[Running, dict[str, str]]]:
    """A gateway before a replica that serves the model ``echo``; and a caller's headers."""
    folder = tmp_path / "inference"
    (folder / "manifests").mkdir(parents=True)
    (folder / "artifacts").mkdir()
    content = echo_model()
    manifest = raw_manifest(content, "echo")
    (folder / "manifests" / "echo@1.json").write_text(manifest.model_dump_json())
    (folder / "artifacts" / manifest.files[0].sha256).write_bytes(content)
    arms = (Arm(version="1", variant="production", weight=1.0),)
    table = RoutingTable(epoch=1, models={"echo": ModelRoute(arms=arms)})
    (folder / "routing.json").write_text(table.model_dump_json())
    frames = (f"unix://{tmp_path}/frames",)
    settings = InferenceSettings(
        state_dir=tmp_path,
        redis_url=redis_url,
        registry_url="http://127.0.0.1:1",
        inference_frames=frames,
        drain_s=1.0,
    )
    key = make_key(tmp_path, "ann", "predict:echo")
    inference = Inference(settings)
    async with (
        inference.lifespan(FastAPI()),
        running_gateway(tmp_path, redis_url, inference_frames=frames) as gateway,
    ):
        await until(lambda: inference.ready() == [])
        await gateway.ready()
        yield gateway, {"Authorization": f"Bearer {key}"}


def as_text(value: str | bytes) -> str:
    """Strings come as text in JSON and as bytes in binary."""
    return value if isinstance(value, str) else value.decode()


def ask(port: int, headers: dict[str, str]) -> None:
    """What an application with the synchronous client does."""
    with triton.InferenceServerClient(f"127.0.0.1:{port}") as client:
        assert client.is_server_live()
        assert client.is_server_ready(headers=headers)
        assert client.is_model_ready("echo", headers=headers)
        assert client.get_model_metadata("echo", headers=headers)["name"] == "echo"
        inputs, outputs = [], []
        for number, (name, sample) in enumerate(SAMPLES.items()):
            binary = number % 2 == 0 or name == "FP16"  # FP16 has no JSON form
            tensor = triton.InferInput(f"in_{name.lower()}", [2, 2], name)
            tensor.set_data_from_numpy(sample, binary_data=binary)
            inputs.append(tensor)
            outputs.append(triton.InferRequestedOutput(f"out_{name.lower()}", binary_data=binary))
        for packed in (None, "gzip", "deflate"):
            answer = client.infer(
                "echo",
                inputs,
                outputs=outputs,
                headers=headers,
                request_id="mine",
                request_compression_algorithm=packed,
                response_compression_algorithm=packed,
            )
            assert answer.get_response()["id"] == "mine"
            assert answer.get_response()["model_version"] == "1"
            for name, sample in SAMPLES.items():
                got = answer.as_numpy(f"out_{name.lower()}")
                if name == "BYTES":
                    got = np.array(
                        [[v if isinstance(v, str) else v.decode() for v in r] for r in got]
                    )
                np.testing.assert_array_equal(got, sample)
        with pytest.raises(InferenceServerException, match="scope"):
            client.infer("other", inputs[:1], headers=headers)
        with pytest.raises(InferenceServerException, match="key"):
            client.infer("echo", inputs[:1])


async def test_tritons_client_works_unmodified(chain: tuple[Running, dict[str, str]]) -> None:
    gateway, headers = chain
    await asyncio.to_thread(ask, gateway.port, headers)


async def test_tritons_asynchronous_client_works_unmodified(
    chain: tuple[Running, dict[str, str]],
) -> None:
    gateway, headers = chain
    async with triton_aio.InferenceServerClient(f"127.0.0.1:{gateway.port}") as client:
        assert await client.is_server_live()
        tensor = triton_aio.InferInput("in_fp32", [2, 2], "FP32")
        tensor.set_data_from_numpy(SAMPLES["FP32"])
        wanted = [triton_aio.InferRequestedOutput("out_fp32")]
        others = [
            triton_aio.InferInput(f"in_{name.lower()}", [2, 2], name)
            for name in SAMPLES
            if name != "FP32"
        ]
        for other in others:
            other.set_data_from_numpy(SAMPLES[other.datatype()])
        for packed in (None, "gzip", "deflate"):
            answer = await client.infer(
                "echo", [tensor, *others], outputs=wanted, headers=headers,
                request_compression_algorithm=packed, response_compression_algorithm=packed,
            )  # fmt: skip
            np.testing.assert_array_equal(answer.as_numpy("out_fp32"), SAMPLES["FP32"])
