"""MLServer with a custom runtime around ONNX Runtime (its REST port only)."""

import os

import numpy as np
import onnxruntime as ort
from mlserver import MLModel  # type: ignore[import-not-found]  # in the peer's environment
from mlserver.codecs import NumpyCodec  # type: ignore[import-not-found]
from mlserver.types import (  # type: ignore[import-not-found]
    InferenceRequest,
    InferenceResponse,
)


class OnnxModel(MLModel):  # type: ignore[misc]  # untyped there
    async def load(self) -> bool:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = ort.InferenceSession(os.environ["PEER_MODEL"], options)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        rows = NumpyCodec.decode_input(payload.inputs[0]).astype(np.float32)
        found = self._session.run(["probabilities"], {"input": rows})[0][:, 1]
        return InferenceResponse(
            model_name=self.name, outputs=[NumpyCodec.encode_output("predictions", found)]
        )
