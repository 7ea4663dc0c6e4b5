"""What most people write first: FastAPI, a pydantic body, one ONNX Runtime call a request."""

import os

import numpy as np
import onnxruntime as ort
from fastapi import FastAPI
from pydantic import BaseModel

options = ort.SessionOptions()
options.intra_op_num_threads = 1
session = ort.InferenceSession(os.environ["PEER_MODEL"], options)
app = FastAPI()


class Body(BaseModel):
    instances: list[list[float]]


@app.post("/predict")
def predict(body: Body) -> dict[str, list[float]]:
    rows = np.asarray(body.instances, np.float32)
    probabilities = session.run(["probabilities"], {"input": rows})[0]
    return {"predictions": probabilities[:, 1].tolist()}
