"""Looks into what is published: only ONNX and text, whole, self-contained, as the manifest says."""

import asyncio
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from pathlib import Path, PurePosixPath
from typing import Any
from zipfile import is_zipfile

import orjson
from pydantic import ValidationError

from contracts.manifest import Manifest
from contracts.profile import BaselineProfile
from contracts.tensor_types import SERVED, unserved
from registry.adapters.face_onnx import UnsoundGraph, face_of
from registry.domain.signature import FREE, Signature, Tensor, misfits
from registry.ports import Inspection, StagedFile

TEXT_BYTES_MAX = 64 * 1024 * 1024
NAME_BYTES_MAX = 200
_MANIFEST = "manifest.json"


class OnnxInspector:
    """See ``registry.ports.Inspector``."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    async def __call__(self, manifest: Manifest, files: Sequence[StagedFile]) -> Inspection:
        """Every reason to refuse, file by file."""
        return await asyncio.get_running_loop().run_in_executor(
            self._executor, _inspect, manifest, files
        )


def _inspect(manifest: Manifest, files: Sequence[StagedFile]) -> Inspection:
    seen = [_look(manifest, file) for file in files]
    faults = [fault for one in seen for fault in one.faults]
    faults += _in_each_others_way([file.entry.path for file in files])
    signature = next((one.signature for one in seen if one.signature is not None), None)
    return Inspection(faults, signature)


def _look(manifest: Manifest, file: StagedFile) -> Inspection:
    path, suffix = file.entry.path, Path(file.entry.path).suffix.lower()
    if not _is_plain(path):
        return Inspection(["a file's name is not a plain relative path"])
    if suffix not in _TAKEN:
        return Inspection([f"{path}: only {', '.join(sorted(_TAKEN))} are taken, never pickles"])
    if _is_pickled(file.path):
        return Inspection([f"{path}: this is a pickle; no service ever loads one"])
    found = _graph(manifest, file) if suffix == ".onnx" else _text(manifest, file, suffix)
    return Inspection([f"{path}: {fault}" for fault in found.faults], found.signature)


def _is_plain(path: str) -> bool:
    """Whether any file system takes it as it stands, and a terminal shows it as it is."""
    return (
        path.isprintable()
        and "\\" not in path
        and len(path.encode()) <= NAME_BYTES_MAX
        and not {"", ".", ".."}.intersection(path.split("/"))
    )


def _in_each_others_way(paths: Sequence[str]) -> Iterator[str]:
    """Files that could not lie in one folder: MLflow is shown all of a version's in one."""
    taken = {_MANIFEST, *paths}
    for path in paths:
        if path == _MANIFEST:
            yield f"{path}: the manifest is the part manifest, and no file"
        parents = {str(parent) for parent in PurePosixPath(path).parents}
        yield from (f"{path}: {one} is a file, too" for one in sorted(parents & taken))


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


def _text(manifest: Manifest, file: StagedFile, suffix: str) -> Inspection:
    of_text = _json_faults if suffix == ".json" else _text_faults
    return Inspection(list(of_text(manifest, file)))


def _graph(manifest: Manifest, file: StagedFile) -> Inspection:
    try:
        face = face_of(file.path)
    except UnsoundGraph as unsound:
        return Inspection([str(unsound)])
    if file.entry.path != "model.onnx":
        return Inspection([])
    if faults := list(unserved(face)):
        return Inspection(faults)
    signature = _signature(face)
    return Inspection(list(misfits(manifest, signature)), signature)


def _signature(face: Any) -> Signature:  # onnx.ModelProto
    return Signature(
        inputs=tuple(map(_tensor, face.graph.input)), outputs=tuple(map(_tensor, face.graph.output))
    )


def _tensor(value: Any) -> Tensor:  # onnx.ValueInfoProto
    kind = value.type.tensor_type
    sizes = (d.dim_value if d.HasField("dim_value") else FREE for d in kind.shape.dim)
    shape = tuple(sizes) if kind.HasField("shape") else None
    return Tensor(name=value.name, datatype=_DATATYPES[kind.elem_type], shape=shape)


_TAKEN = frozenset({".onnx", ".json", ".md", ".txt"})
_DATATYPES = {one.number: one.datatype for one in SERVED}
