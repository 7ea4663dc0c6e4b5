"""mosec: a Rust front with Python workers and adaptive batching."""

import os
from typing import Any

import msgspec  # type: ignore[import-not-found]
import numpy as np
import onnxruntime as ort
from mosec import Server, Worker  # type: ignore[import-not-found]


class Model(Worker):  # type: ignore[misc]  # untyped there
    def __init__(self) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = ort.InferenceSession(os.environ["PEER_MODEL"], options)

    def deserialize(self, data: bytes) -> Any:
        return msgspec.json.decode(data)["instances"][0]

    def serialize(self, data: Any) -> bytes:
        return bytes(msgspec.json.encode({"predictions": [data]}))

    def forward(self, data: list[Any]) -> list[float]:
        rows = np.asarray(data, np.float32)
        found = self.session.run(["probabilities"], {"input": rows})[0][:, 1].tolist()
        return list(found)


if __name__ == "__main__":
    server = Server()
    server.append_worker(Model, num=1, max_batch_size=64, max_wait_time=1)
    server.run()
