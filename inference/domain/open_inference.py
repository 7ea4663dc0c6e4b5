"""Requests and responses of the Open Inference Protocol V2, with the binary tensor extension."""

import math
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from inference.domain.fleet import TensorSpec
from inference.domain.tensors import (
    DTYPES,
    Tensor,
    TensorRefused,
    classes_of,
    elements,
    from_binary,
    from_json,
    to_binary,
    to_json,
)

HEADER_LENGTH = "inference-header-content-length"
KEPT_BYTES_MAX, KEPT_MAX = 4_096, 256
"""JSON parts that a version remembers, but for those that name their call and never come again."""
INPUTS_MAX = 1_000
ELEMENTS_MAX = 64 * 1024 * 1024
UNIT_CHARACTERS_MAX = 4_096
"""As of any text of an instance: it is recorded with what was served."""


@dataclass(frozen=True, slots=True)
class WantedOutput:
    """How one output is to be sent back."""

    name: str
    binary: bool
    classes: int = 0


@dataclass(frozen=True, slots=True)
class ToldInput:
    """What a request says of one input."""

    spec: TensorSpec
    shape: tuple[int, ...]
    binary_bytes: int | None
    """How much of the binary part is its; None: the data stand in the JSON."""
    data: Any = None


@dataclass(frozen=True, slots=True)
class InferHead:
    """The JSON part of an ``infer`` call, checked against the graph's inputs."""

    id: str | None
    unit: str | None
    """Of the sticky assignment, where the caller names one (parameter ``unit``)."""
    binary: bool
    outputs: tuple[WantedOutput, ...]
    """Empty: all, as ``binary`` says."""
    inputs: tuple[ToldInput, ...]
    rows: int
    """1 where the inputs share no first axis."""
    alone: bool
    """Whether no other call's rows can stand beside these."""
    kind: tuple[Any, ...]
    """Calls of one version and of equal kind may share a run."""


def read_call(
    body: bytes,
    header_length: int | None,
    specs: Sequence[TensorSpec],
    known: MutableMapping[bytes, InferHead],
) -> tuple[InferHead, dict[str, Tensor]]:
    """Read a call to a graph with these inputs. Raises ``TensorRefused``.

    A client's JSON parts are often the same from call to call: ``known`` keeps the last ones that
    were read against these very inputs.
    """
    if header_length is None:
        head = read_head(body, specs)
        return head, _tensors_in(head, b"", 0)
    if not 0 <= header_length <= len(body):
        raise TensorRefused(f"{HEADER_LENGTH} does not fit the body")
    told = body[:header_length]
    found = known.get(told)
    if found is None:
        found = read_head(told, specs)
        if header_length <= KEPT_BYTES_MAX and found.id is None:
            if len(known) >= KEPT_MAX:
                del known[next(iter(known))]
            known[told] = found
    return found, _tensors_in(found, body, header_length)


def read_head(told: bytes, specs: Sequence[TensorSpec]) -> InferHead:
    """Read the JSON part. Raises ``TensorRefused``."""
    try:
        document = orjson.loads(told)
    except orjson.JSONDecodeError:
        raise TensorRefused("the request header is not well-formed JSON") from None
    if type(document) is not dict:
        raise TensorRefused("the request must be a JSON object")
    parameters = _object(document, "parameters")
    identity = document.get("id")
    if identity is not None and type(identity) is not str:
        raise TensorRefused("'id' must be a string")
    binary = parameters.get("binary_data_output", False) is True
    unit = parameters.get("unit")
    if unit is not None and (type(unit) is not str or len(unit) > UNIT_CHARACTERS_MAX):
        raise TensorRefused(f"'unit' must be a string of at most {UNIT_CHARACTERS_MAX} characters")
    inputs = _inputs(document, specs)
    firsts = {one.shape[:1] for one in inputs}
    empty = not all(math.prod(one.shape) for one in inputs)
    alone = empty or len(firsts) != 1 or firsts == {()}
    return InferHead(
        id=identity,
        unit=unit,
        binary=binary,
        outputs=_outputs(document, binary),
        inputs=inputs,
        rows=1 if alone else next(iter(firsts))[0],
        alone=alone,
        kind=tuple([(one.spec.name, one.shape[1:]) for one in inputs]),
    )


def _object(document: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = document.get(name)
    if value is None:
        return {}
    if type(value) is not dict:
        raise TensorRefused(f"'{name}' must be an object")
    return value


def _entries(document: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    entries = document.get(name)
    if entries is None:
        return []
    if type(entries) is not list or len(entries) > INPUTS_MAX:
        raise TensorRefused(f"'{name}' must be an array of objects")
    for entry in entries:
        if type(entry) is not dict or type(entry.get("name")) is not str:
            raise TensorRefused(f"each of '{name}' must be an object with a 'name'")
    return entries


def _inputs(document: Mapping[str, Any], specs: Sequence[TensorSpec]) -> tuple[ToldInput, ...]:
    known = {spec.name: spec for spec in specs}
    found: dict[str, ToldInput] = {}
    for entry in _entries(document, "inputs"):
        name = entry["name"]
        spec = known.get(name)
        if spec is None:
            raise TensorRefused(f"unexpected input '{name[:100]}' for this model")
        if name in found:
            raise TensorRefused(f"input '{name}' is given twice")
        shape = _shape(entry, spec)
        size = _object(entry, "parameters").get("binary_data_size")
        if size is None and "data" not in entry:
            raise TensorRefused(f"input '{name}' has no data")
        if size is not None and (type(size) is not int or size < 0):
            raise TensorRefused(f"input '{name}' has a binary_data_size that is no size")
        data = entry["data"] if size is None else None
        found[name] = ToldInput(spec, tuple(shape), size, data)
    missing = [spec.name for spec in specs if spec.name not in found]
    if missing:
        raise TensorRefused(f"expected {len(specs)} inputs, '{missing[0]}' is missing")
    return tuple(found.values())


def _tensors_in(head: InferHead, body: bytes, at: int) -> dict[str, Tensor]:
    """The inputs, of which the binary ones lie in ``body`` from ``at`` to its end."""
    found: dict[str, Tensor] = {}
    for told in head.inputs:
        name, datatype, size = told.spec.name, told.spec.datatype, told.binary_bytes
        if size is None:
            found[name] = from_json(name, datatype, told.shape, told.data)
            continue
        if size > len(body) - at:
            raise TensorRefused(f"input '{name}' has a binary_data_size beyond the body")
        found[name] = from_binary(name, datatype, told.shape, body[at : at + size])
        at += size
    if at != len(body):
        raise TensorRefused("the body has bytes that belong to no input")
    return found


def _shape(entry: Mapping[str, Any], spec: TensorSpec) -> list[int]:
    name, shape = spec.name, entry.get("shape")
    if entry.get("datatype") != spec.datatype:
        raise TensorRefused(f"input '{name}' must have the datatype {spec.datatype}")
    if type(shape) is not list or any(type(size) is not int or size < 0 for size in shape):
        raise TensorRefused(f"input '{name}' must have a shape of non-negative integers")
    fits = len(shape) == len(spec.shape) and all(
        want in (-1, size) for size, want in zip(shape, spec.shape, strict=True)
    )
    if not fits:
        raise TensorRefused(f"input '{name}' has the shape {shape[:8]}, expected {[*spec.shape]}")
    if max(elements(shape), *shape, 0) > ELEMENTS_MAX:  # one may be zero, and another huge
        raise TensorRefused(f"input '{name}' is larger than allowed")
    return shape


def _outputs(document: Mapping[str, Any], binary: bool) -> tuple[WantedOutput, ...]:
    wanted: list[WantedOutput] = []
    for entry in _entries(document, "outputs"):
        parameters = _object(entry, "parameters")
        if "shared_memory_region" in parameters:
            raise TensorRefused("shared memory is not served")
        classes = parameters.get("classification", 0)
        if type(classes) is not int or classes < 0:
            raise TensorRefused("'classification' must be a non-negative integer")
        if any(entry["name"] == known.name for known in wanted):
            raise TensorRefused(f"output '{entry['name'][:100]}' is asked for twice")
        asked = parameters.get("binary_data", binary)
        wanted.append(WantedOutput(entry["name"], asked is True, classes))
    return tuple(wanted)


def format_infer(
    model: str,
    version: str,
    request: InferHead,
    specs: Sequence[TensorSpec],
    tensors: Sequence[Tensor],
    labels: Sequence[str] = (),
) -> tuple[bytes, int | None]:
    """The response body, and the length of its JSON header when binary data follows.

    Raises ``TensorRefused`` for an output that the model does not have.
    """
    by_name = {spec.name: (spec, one) for spec, one in zip(specs, tensors, strict=True)}
    wanted = request.outputs or tuple(WantedOutput(spec.name, request.binary) for spec in specs)
    outputs: list[dict[str, Any]] = []
    tails: list[bytes] = []
    for one in wanted:
        if one.name not in by_name:
            raise TensorRefused(f"unexpected output '{one.name[:100]}' for this model")
        spec, tensor = by_name[one.name]
        datatype = spec.datatype
        if one.classes:
            tensor, datatype = classes_of(tensor, one.classes, labels), "BYTES"
        told: dict[str, Any] = {
            "name": one.name,
            "datatype": datatype,
            "shape": list(tensor.shape),
        }
        if one.binary:
            tails.append(to_binary(tensor))
            told["parameters"] = {"binary_data_size": len(tails[-1])}
        else:
            told["data"] = to_json(tensor)
        outputs.append(told)
    head: dict[str, Any] = {"model_name": model, "model_version": version}
    if request.id is not None:
        head["id"] = request.id
    header = orjson.dumps({**head, "outputs": outputs})
    if not tails:
        return header, None
    return b"".join((header, *tails)), len(header)


def metadata_of(
    name: str, versions: Sequence[str], inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
) -> dict[str, Any]:
    """The answer to ``GET /v2/models/{name}``."""

    def told(specs: Sequence[TensorSpec]) -> list[dict[str, Any]]:
        return [
            {"name": spec.name, "datatype": spec.datatype, "shape": list(spec.shape)}
            for spec in specs
        ]

    return {
        "name": name,
        "versions": list(versions),
        "platform": "onnxruntime_onnx",
        "inputs": told(inputs),
        "outputs": told(outputs),
    }


def config_of(
    name: str, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], rows_max: int
) -> dict[str, Any]:
    """The answer to ``GET /v2/models/{name}/config`` (model configuration extension); 0 rows where
    the first axis is none of rows, which is told with the others then."""
    batched = rows_max > 0 and all(spec.shape[:1] == (-1,) for spec in (*inputs, *outputs))

    def told(specs: Sequence[TensorSpec]) -> list[dict[str, Any]]:
        return [
            {
                "name": spec.name,
                "data_type": "TYPE_STRING" if spec.datatype == "BYTES" else f"TYPE_{spec.datatype}",
                "dims": list(spec.shape[1:] if batched else spec.shape),
            }
            for spec in specs
        ]

    return {
        "name": name,
        "platform": "onnxruntime_onnx",
        "backend": "onnxruntime",
        "max_batch_size": rows_max if batched else 0,
        "input": told(inputs),
        "output": told(outputs),
    }


assert set(DTYPES) == {"BOOL", "BYTES", "FP16", "FP32", "FP64"} | {
    f"{sign}INT{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)
}
