"""Tensors of the Open Inference Protocol: JSON and binary forms, both ways."""

import math
import struct
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Tensor = npt.NDArray[Any]
_LENGTH = struct.Struct("<I")

DTYPES: dict[str, Any] = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype(np.uint8),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype(np.int8),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
    "BYTES": np.dtype(object),
}
"""Datatype -> numpy dtype; BYTES elements are ``str`` (ONNX strings are UTF-8)."""


class TensorRefused(ValueError):
    """The data is not a tensor of its datatype and shape; the message is for the caller."""


def elements(shape: Sequence[int]) -> int:
    """How many elements a tensor of this shape has."""
    return math.prod(shape)


def from_binary(name: str, datatype: str, shape: Sequence[int], data: bytes) -> Tensor:
    """The tensor in ``data``: little-endian row-major; BYTES elements carry a u32 length."""
    count = elements(shape)
    if datatype == "BYTES":
        texts = np.empty(count, object)
        texts[:] = _texts_in(name, data, count)
        return texts.reshape(shape)
    dtype = DTYPES[datatype]
    if len(data) != count * dtype.itemsize:
        raise TensorRefused(
            f"input '{name}' has {len(data)} bytes of data, its shape and datatype need "
            f"{count * dtype.itemsize}"
        )
    if datatype == "BOOL" and data.translate(None, b"\x00\x01"):
        raise TensorRefused(f"input '{name}' has booleans that are neither 0 nor 1")
    return np.frombuffer(data, dtype).reshape(shape)


def _texts_in(name: str, data: bytes, count: int) -> list[str]:
    texts, at = [], 0
    try:
        while at < len(data):
            (length,) = _LENGTH.unpack_from(data, at)
            at += _LENGTH.size + length
            if at > len(data):
                raise TensorRefused(f"input '{name}' ends inside an element")
            texts.append(data[at - length : at].decode())
    except struct.error:
        raise TensorRefused(f"input '{name}' ends inside an element's length") from None
    except UnicodeDecodeError:
        raise TensorRefused(f"input '{name}' has an element that is not UTF-8 text") from None
    if len(texts) != count:
        raise TensorRefused(f"input '{name}' has {len(texts)} elements, its shape needs {count}")
    return texts


def to_binary(tensor: Tensor) -> bytes:
    """The inverse of ``from_binary``."""
    if tensor.dtype == object:
        encoded = [_bytes_of(value) for value in tensor.reshape(-1)]
        return b"".join([_LENGTH.pack(len(one)) + one for one in encoded])
    if not tensor.dtype.isnative or sys.byteorder != "little":
        tensor = tensor.astype(tensor.dtype.newbyteorder("<"))
    return tensor.tobytes()


def _bytes_of(value: object) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


def from_json(name: str, datatype: str, shape: Sequence[int], data: object) -> Tensor:
    """The tensor in a JSON array, flat or nested row-major."""
    flat: list[object] = []
    _flatten(name, data, flat)
    count = elements(shape)
    if len(flat) != count:
        raise TensorRefused(f"input '{name}' has {len(flat)} elements, its shape needs {count}")
    _check_kinds(name, datatype, flat)
    if datatype == "BYTES":
        texts = np.empty(count, object)
        texts[:] = flat
        return texts.reshape(shape)
    dtype = DTYPES[datatype]
    floating = datatype.startswith("FP")
    if floating:
        flat = [np.nan if value is None else value for value in flat]
    try:
        with np.errstate(over="raise"):
            whole = np.array(flat, np.float64 if floating else dtype)
            return whole.astype(dtype).reshape(shape)
    except (OverflowError, FloatingPointError):
        raise TensorRefused(f"input '{name}' has a number that {datatype} cannot hold") from None


def _flatten(name: str, data: object, into: list[object], depth: int = 0) -> None:
    if type(data) is not list or depth > 32:
        raise TensorRefused(f"input '{name}' has data that is no array")
    for value in data:
        if type(value) is list:
            _flatten(name, value, into, depth + 1)
        else:
            into.append(value)


_KINDS: dict[str, frozenset[type]] = {
    "BOOL": frozenset({bool}),
    "BYTES": frozenset({str}),
    "FP": frozenset({int, float, type(None)}),  # JSON has no NaN: null stands for it
    "INT": frozenset({int}),
    "UINT": frozenset({int}),
}


def _check_kinds(name: str, datatype: str, flat: list[object]) -> None:
    allowed = _KINDS[datatype.rstrip("0123456789")]
    if not allowed.issuperset(map(type, flat)):
        raise TensorRefused(f"input '{name}' has an element that is no {datatype}")


def to_json(tensor: Tensor) -> list[Any]:
    """Flat row-major elements; NaN and infinities become null when orjson writes them."""
    if tensor.dtype == object:
        return [_bytes_of(value).decode("utf-8", "replace") for value in tensor.reshape(-1)]
    flat: list[Any] = tensor.reshape(-1).tolist()
    return flat


def classes_of(tensor: Tensor, count: int, labels: Sequence[str]) -> Tensor:
    """The classification extension: per row the ``count`` best as ``score:index[:label]``."""
    if tensor.dtype == object or tensor.ndim == 0:
        raise TensorRefused("classification is asked of an output that is not numeric")
    if not tensor.shape[-1]:
        raise TensorRefused("classification is asked of an output without classes")
    rows = tensor.reshape(-1, tensor.shape[-1]).astype(np.float64)
    best = np.argsort(-rows, axis=1, kind="stable")[:, : max(count, 0)]
    told = np.empty(best.shape, object)
    for row, indices in enumerate(best.tolist()):
        for place, index in enumerate(indices):
            label = f":{labels[index]}" if index < len(labels) else ""
            told[row, place] = f"{rows[row, index]:f}:{index}{label}"
    return told.reshape(*tensor.shape[:-1], best.shape[1])
