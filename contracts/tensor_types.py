"""Which tensors can be served: what the Open Inference Protocol, ONNX Runtime and numpy share."""

from collections.abc import Iterator
from typing import Any

SERVED = {
    1: "FP32",
    2: "UINT8",
    3: "INT8",
    4: "UINT16",
    5: "INT16",
    6: "INT32",
    7: "INT64",
    8: "BYTES",
    9: "BOOL",
    10: "FP16",
    11: "FP64",
    12: "UINT32",
    13: "UINT64",
}
"""The protocol's name of each ``TensorProto.DataType`` of ONNX that is served."""
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
            elif kind != "tensor_type" or value.type.tensor_type.elem_type not in SERVED:
                yield (
                    f"the {role} {value.name} has a type that is not served; those are "
                    f"{', '.join(sorted(SERVED.values()))}"
                )
