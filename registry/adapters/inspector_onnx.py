"""Looks into what is published: only ONNX and text, whole, self-contained, as the manifest says."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

import orjson
from pydantic import ValidationError

from contracts.manifest import Manifest
from contracts.profile import BaselineProfile
from contracts.tensor_types import unserved
from registry.adapters.face_onnx import UnsoundGraph, face_of
from registry.ports import StagedFile

TEXT_BYTES_MAX = 64 * 1024 * 1024


class OnnxInspector:
    """See ``registry.ports.Inspector``."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    async def faults(self, manifest: Manifest, files: Sequence[StagedFile]) -> list[str]:
        """Every reason to refuse, file by file."""
        return await asyncio.get_running_loop().run_in_executor(
            self._executor, lambda: [fault for file in files for fault in _faults(manifest, file)]
        )


def _faults(manifest: Manifest, file: StagedFile) -> list[str]:
    path, suffix = file.entry.path, Path(file.entry.path).suffix.lower()
    if not _is_plain(path):
        return ["a file's name is not a plain relative path"]
    if suffix not in _INSPECTIONS:
        return [f"{path}: only {', '.join(sorted(_INSPECTIONS))} are taken, never pickles"]
    if _is_pickled(file.path):
        return [f"{path}: this is a pickle; no service ever loads one"]
    return [f"{path}: {fault}" for fault in _INSPECTIONS[suffix](manifest, file)]


def _is_plain(path: str) -> bool:
    parts = Path(path).parts
    return bool(parts) and not Path(path).is_absolute() and ".." not in parts and len(path) <= 200


def _is_pickled(path: Path) -> bool:
    """Protocols from 2 on begin with 0x80 and their number; torch and numpy files are archives."""
    with path.open("rb") as file:
        head = file.read(2)
    return (len(head) == 2 and head[0] == 0x80 and 2 <= head[1] <= 5) or is_zipfile(path)


def _json_faults(manifest: Manifest, file: StagedFile) -> Iterator[str]:
    if file.entry.size_bytes > TEXT_BYTES_MAX:
        yield f"more than {TEXT_BYTES_MAX} bytes of text"
        return
    data = file.path.read_bytes()
    try:
        orjson.loads(data)
    except orjson.JSONDecodeError:
        yield "not JSON"
        return
    if file.entry.path != "baseline.json":
        return
    try:
        profile = BaselineProfile.model_validate_json(data)
    except ValidationError as invalid:
        where = invalid.errors(include_input=False)[0]["loc"]
        yield f"not a baseline profile, at {'/'.join(str(part) for part in where)}"
        return
    if profile.model != manifest.model:
        yield "the baseline of another model"


def _text_faults(_manifest: Manifest, file: StagedFile) -> Iterator[str]:
    if file.entry.size_bytes > TEXT_BYTES_MAX:
        yield f"more than {TEXT_BYTES_MAX} bytes of text"
        return
    try:
        file.path.read_bytes().decode()
    except UnicodeDecodeError:
        yield "not UTF-8 text"


def _onnx_faults(manifest: Manifest, file: StagedFile) -> Iterator[str]:
    try:
        face = face_of(file.path)
    except UnsoundGraph as unsound:
        yield str(unsound)
        return
    if file.entry.path == "model.onnx":
        yield from unserved(face)
        yield from _signature_faults(manifest, face)


def _signature_faults(manifest: Manifest, face: Any) -> Iterator[str]:  # onnx.ModelProto
    inputs = {value.name for value in face.graph.input}
    outputs = {value.name for value in face.graph.output}
    tensors = manifest.tensors
    for name in (tensors.probability, tensors.value):
        if name is not None and name not in outputs:
            yield f"has no output {name}; it has {', '.join(sorted(outputs))}"
    if tensors.layout == "raw":
        return
    wanted = {tensors.input} if tensors.layout == "matrix" else {c.name for c in manifest.inputs}
    if inputs != wanted:
        yield (
            f"takes {', '.join(sorted(inputs))}, "
            f"but the manifest describes {', '.join(sorted(wanted))}"
        )


_INSPECTIONS: dict[str, Callable[[Manifest, StagedFile], Iterator[str]]] = {
    ".onnx": _onnx_faults,
    ".json": _json_faults,
    ".md": _text_faults,
    ".txt": _text_faults,
}
