"""Which tensors can be served: what the Open Inference Protocol, ONNX Runtime and numpy share."""

from collections.abc import Iterator
from typing import Any, NamedTuple


class TensorType(NamedTuple):
    """One type under its three names."""

    number: int
    """``TensorProto.DataType`` of ONNX."""
    element: str
    """ONNX Runtime's, in ``tensor(...)``."""
    datatype: str
    """The Open Inference Protocol's."""


SERVED = (
    TensorType(1, "float", "FP32"),
    TensorType(2, "uint8", "UINT8"),
    TensorType(3, "int8", "INT8"),
    TensorType(4, "uint16", "UINT16"),
    TensorType(5, "int16", "INT16"),
    TensorType(6, "int32", "INT32"),
    TensorType(7, "int64", "INT64"),
    TensorType(8, "string", "BYTES"),
    TensorType(9, "bool", "BOOL"),
    TensorType(10, "float16", "FP16"),
    TensorType(11, "double", "FP64"),
    TensorType(12, "uint32", "UINT32"),
    TensorType(13, "uint64", "UINT64"),
)
_NUMBERS = frozenset(one.number for one in SERVED)
_ZIPMAP = 'of class probabilities, leave out the ZipMap (skl2onnx: options={"zipmap": False})'
_REMEDY = {
    "map_type": ("a map", _ZIPMAP),
    "sequence_type": ("a sequence", _ZIPMAP),
    "optional_type": ("optional", "give the graph one that always takes it"),
}


def unserved(model: Any) -> Iterator[str]:
    """A sentence for every input and output of an ``onnx.ModelProto`` that no replica takes."""
    graph = model.graph
    constants = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in constants]
    for role, values in (("input", inputs), ("output", graph.output)):
        for value in values:
            kind = value.type.WhichOneof("value")
            if kind in _REMEDY:
                what, remedy = _REMEDY[kind]
                yield f"the {role} {value.name} is {what} and no tensor: {remedy}"
            elif kind != "tensor_type" or value.type.tensor_type.elem_type not in _NUMBERS:
                yield (
                    f"the {role} {value.name} has a type that is not served; those are "
                    f"{', '.join(sorted(one.datatype for one in SERVED))}"
                )
