"""ONNX models without features: what the Open Inference Protocol serves."""

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import numpy as np
from onnx import TensorProto, helper

from contracts.manifest import FileEntry, Manifest, Tensors

ONNX_TYPES = {
    "BOOL": TensorProto.BOOL,
    "UINT8": TensorProto.UINT8,
    "UINT16": TensorProto.UINT16,
    "UINT32": TensorProto.UINT32,
    "UINT64": TensorProto.UINT64,
    "INT8": TensorProto.INT8,
    "INT16": TensorProto.INT16,
    "INT32": TensorProto.INT32,
    "INT64": TensorProto.INT64,
    "FP16": TensorProto.FLOAT16,
    "FP32": TensorProto.FLOAT,
    "FP64": TensorProto.DOUBLE,
    "BYTES": TensorProto.STRING,
}
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
"""Two rows of two elements of every datatype, the extremes among them."""


def echo_model(datatypes: Sequence[str] = tuple(ONNX_TYPES)) -> bytes:
    """Gives back each input: ``in_fp32`` [n, 2] as ``out_fp32``, and so on."""
    names = [name.lower() for name in datatypes]
    types = [ONNX_TYPES[name] for name in datatypes]
    graph = helper.make_graph(
        [helper.make_node("Identity", [f"in_{name}"], [f"out_{name}"]) for name in names],
        "echo",
        [
            helper.make_tensor_value_info(f"in_{name}", kind, [None, 2])
            for name, kind in zip(names, types, strict=True)
        ],
        [
            helper.make_tensor_value_info(f"out_{name}", kind, [None, 2])
            for name, kind in zip(names, types, strict=True)
        ],
    )
    return _serialized(graph)


def gather_model() -> bytes:
    """Row ``index`` of a table of three numbers; an index beyond it fails at run time."""
    table = helper.make_tensor("table", TensorProto.FLOAT, [3], [10.0, 20.0, 30.0])
    graph = helper.make_graph(
        [helper.make_node("Gather", ["table", "index"], ["value"], axis=0)],
        "gather",
        [helper.make_tensor_value_info("index", TensorProto.INT64, [None])],
        [helper.make_tensor_value_info("value", TensorProto.FLOAT, [None])],
        [table],
    )
    return _serialized(graph)


def product_model() -> bytes:
    """A matrix product: its inputs share no first axis."""
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["a", "b"], ["c"])],
        "product",
        [
            helper.make_tensor_value_info("a", TensorProto.FLOAT, [None, None]),
            helper.make_tensor_value_info("b", TensorProto.FLOAT, [None, None]),
        ],
        [helper.make_tensor_value_info("c", TensorProto.FLOAT, [None, None])],
    )
    return _serialized(graph)


def table_model() -> bytes:
    """Gives back any matrix of numbers."""
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [None, None]) for n in ("x", "y")]
    node = helper.make_node("Identity", ["x"], ["y"])
    return _serialized(helper.make_graph([node], "table", ends[:1], ends[1:]))


def total_model() -> bytes:
    """The sum of each column: an output that is about all rows at once."""
    graph = helper.make_graph(
        [helper.make_node("ReduceSum", ["x", "axes"], ["y"], keepdims=1)],
        "total",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 2])],
        [helper.make_tensor("axes", TensorProto.INT64, [1], [0])],
    )
    return _serialized(graph)


def centred_model() -> bytes:
    """Each row less the mean of all: an answer a row, that hangs on the others."""
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["x"], ["mean"], axes=[0], keepdims=1),
            helper.make_node("Sub", ["x", "mean"], ["y"]),
        ],
        "centred",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 2])],
    )
    return _serialized(graph)


def constant_model() -> bytes:
    """Takes nothing, and gives one number."""
    graph = helper.make_graph(
        [helper.make_node("Identity", ["one"], ["y"])],
        "constant",
        [],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])],
        [helper.make_tensor("one", TensorProto.FLOAT, [1], [1.0])],
    )
    return _serialized(graph)


def _serialized(graph: Any) -> bytes:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    content: bytes = model.SerializeToString()
    return content


def raw_manifest(content: bytes, model: str = "echo") -> Manifest:
    """A version that takes tensors as they come."""
    entry = FileEntry(
        path="model.onnx", sha256=sha256(content).hexdigest(), size_bytes=len(content)
    )
    return Manifest(model=model, task="raw", tensors=Tensors(layout="raw"), files=(entry,))
