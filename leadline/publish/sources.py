"""What ``leadline publish`` can be pointed at: a Python file, a bundle's folder, an ONNX file."""

import importlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import onnx
import onnxruntime
from google.protobuf.message import DecodeError
from pydantic import ValidationError

from contracts.manifest import Manifest, Tensors, TrainingMetadata
from contracts.tensor_types import unserved
from leadline.publish.bundle import Bundle, entries
from leadline.publish.from_mlflow import Run
from leadline.publish.original import PublishError
from leadline.publish.publication import Publication, build

ENTRY = "publication"
_PLACE = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : (/\S+:\d+ .*?\) (?=[A-Z]))?")
"""Where in its own code ONNX Runtime was when it had something to say."""


def from_module(
    name: str,
    run: Run | None = None,
    precision: Literal["float32", "int8"] | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Bundle:
    """Build what a module (a dotted name or a ``.py`` file) calls ``publication``: a
    ``Publication``, or a function that makes one, which is given the MLflow run if it takes one.
    """
    made = getattr(_module(name), ENTRY, None)
    if callable(made):
        takes_run = bool(inspect.signature(made).parameters)
        if takes_run and run is None:
            raise PublishError(f"{name}: {ENTRY}() takes an MLflow run; give --mlflow-run.")
        made = made(run) if takes_run else made()
    if not isinstance(made, Publication):
        raise PublishError(
            f"{name} defines no {ENTRY!r} that is a leadline.publish.Publication, or a function "
            "that returns one."
        )
    return build(made if precision is None else replace(made, precision=precision), say)


def from_folder(folder: Path) -> Bundle:
    """A bundle that ``Bundle.write`` wrote. Raises ``PublishError`` when a file has changed."""
    try:
        manifest = Manifest.model_validate_json((folder / "manifest.json").read_bytes())
    except FileNotFoundError:
        raise PublishError(f"{folder} holds no manifest.json.") from None
    except ValidationError as invalid:
        raise PublishError(f"{folder / 'manifest.json'}: {_first(invalid)}") from None
    files = {}
    for entry in manifest.files:
        path = folder / entry.path
        if not path.is_file():
            raise PublishError(f"{folder} lacks {entry.path}, which its manifest names.")
        files[entry.path] = path.read_bytes()
    found = entries(files)
    changed = [a.path for a, b in zip(manifest.files, found, strict=True) if a != b]
    if changed:
        raise PublishError(f"{', '.join(changed)} is not what the manifest was written for.")
    return Bundle(manifest, files)


def from_onnx(path: Path, model: str, training: Path) -> Bundle:
    """An ONNX file as it is, for the Open Inference Protocol: no features, no decision."""
    if not path.is_file():
        raise PublishError(f"There is no file {path}.")
    content = path.read_bytes()
    _loads(path, content)
    try:
        lineage = TrainingMetadata.model_validate_json(training.read_bytes())
        files = {"model.onnx": content}
        manifest = Manifest(
            model=model,
            task="raw",
            tensors=Tensors(layout="raw"),
            training=lineage,
            files=entries(files),
        )
    except ValidationError as invalid:
        raise PublishError(f"{training}: {_first(invalid)}") from None
    return Bundle(manifest, files)


def _loads(path: Path, content: bytes) -> None:
    """Raises ``PublishError`` with what a replica would refuse the graph for."""
    try:
        model = onnx.load_model_from_string(content)
        whole = all(t.data_location != onnx.TensorProto.EXTERNAL for t in model.graph.initializer)
        if whole:
            onnx.checker.check_model(model)
    except (DecodeError, onnx.checker.ValidationError, ValueError) as invalid:
        said = str(invalid).splitlines()[0]
        raise PublishError(f"{path} is no valid ONNX model: {said}") from None
    if not whole:
        raise PublishError(
            f"{path} keeps weights in other files; save it as one: "
            "onnx.save(onnx.load(path), other_path)"
        )
    if faults := list(unserved(model)):
        raise PublishError("\n  ".join([f"{path} cannot be served:", *faults]))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what fails is raised as well
    try:
        onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as refused:  # noqa: BLE001 - ONNX Runtime's share no narrower public class
        said = _PLACE.sub("", str(refused).splitlines()[0])[:300]
        raise PublishError(
            f"{path} is not loaded by ONNX Runtime {onnxruntime.__version__}: {said}"
        ) from None


def _module(name: str) -> ModuleType:
    if not name.endswith(".py"):
        if Path(name).exists() or not all(part.isidentifier() for part in name.split(".")):
            raise PublishError(
                f"{name} is no Python file or module, no folder of a bundle and no ONNX file."
            )
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as missing:
            raise PublishError(f"The module {name!r} cannot be imported: {missing}.") from None
    path = Path(name)
    if not path.is_file():
        raise PublishError(f"There is no file {name}.")
    spec = importlib.util.spec_from_file_location(f"leadline_publish_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    sys.path.insert(0, str(path.parent.absolute()))  # as `python FILE` would find its neighbours
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.pop(0)
    return module


def _first(invalid: ValidationError) -> str:
    error: Any = invalid.errors(include_input=False, include_url=False)[0]
    place = ".".join(str(part) for part in error["loc"])
    return f"{place}: {error['msg']}"
