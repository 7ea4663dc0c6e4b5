"""``python kserve_v2.py URL``: the kserve SDK's V2 client, as it comes from PyPI."""

import asyncio
import json
import sys

import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig

VALUES = np.array([[0.5, -2.5], [3.0, 0.25]], np.float32)


async def main(url: str) -> None:
    client = InferenceRESTClient(RESTConfig(protocol="v2", retries=0))
    assert await client.is_server_live(url)
    assert await client.is_server_ready(url)
    assert await client.is_model_ready(url, "echo32")
    seen = []
    for binary in (False, True):
        one = InferInput("in_fp32", [2, 2], "FP32")
        one.set_data_from_numpy(VALUES, binary_data=binary)
        request = InferRequest(model_name="echo32", infer_inputs=[one], request_id="7")
        answer = await client.infer(url, request, model_name="echo32")
        got = answer.outputs[0].as_numpy().reshape(2, 2)
        np.testing.assert_array_equal(got, VALUES)
        seen.append({"id": answer.id, "model": answer.model_name})
    print(json.dumps(seen))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
