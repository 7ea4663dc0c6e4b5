"""Is it a sound ONNX graph, whole in itself? And what does it take and give?

Checking a graph holds the interpreter's lock, 10 ms a MiB, and meanwhile no replica gets its
routing table: a file of 200 MiB kept everybody waiting for 2 s. Large ones are therefore looked at
in a process of their own, which this file is too.
"""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ASIDE_BYTES = 1_000_000
"""Smaller ones are checked in less time than a process takes to start."""
CHECK_S_MAX = 300.0
_UNSOUND = 3
"""The exit code that says that a fault was found, which no crash gives."""


class UnsoundGraph(Exception):
    """Why the file cannot be taken, in words."""


def face_of(path: Path, aside_bytes: int = ASIDE_BYTES) -> Any:  # onnx.ModelProto
    """The model without what it computes: its inputs, less the constants, and its outputs.

    Blocking. Raises ``UnsoundGraph``.
    """
    # Imported here: it costs 0.3 s of start and is needed only when somebody publishes.
    import onnx

    if path.stat().st_size < aside_bytes:
        return _face(path)
    command = [sys.executable, "-P", __file__, str(path)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=CHECK_S_MAX, check=False)
    except subprocess.TimeoutExpired:
        raise UnsoundGraph(f"checking it took longer than {CHECK_S_MAX:.0f} s") from None
    if done.returncode == _UNSOUND:
        raise UnsoundGraph(done.stdout.decode(errors="replace"))
    if done.returncode:
        raise UnsoundGraph(f"it could not be checked: exit code {done.returncode}")
    return onnx.load_model_from_string(done.stdout)


def _face(path: Path) -> Any:
    import onnx
    from google.protobuf.message import DecodeError

    content = path.read_bytes()
    try:
        model = onnx.load_model_from_string(content)
    except DecodeError:
        raise UnsoundGraph("not an ONNX model: its bytes cannot be read as one") from None
    if any(t.data_location == onnx.TensorProto.EXTERNAL for t in _tensors(model, onnx.TensorProto)):
        raise UnsoundGraph(
            "keeps weights in other files (external data); save it as one file "
            "(mlflow: save_as_external_data=False)"
        )
    try:
        onnx.checker.check_model(content)
    except (onnx.checker.ValidationError, ValueError) as invalid:
        first = str(invalid).splitlines()[0][:200]
        raise UnsoundGraph(f"not a valid ONNX model: {first}") from None
    constants = {tensor.name for tensor in model.graph.initializer}
    face = onnx.ModelProto()
    face.graph.input.extend(one for one in model.graph.input if one.name not in constants)
    face.graph.output.extend(model.graph.output)
    return face


def _tensors(message: Any, kind: type) -> Iterator[Any]:  # protobuf messages
    """Every tensor anywhere below: initializers, attributes, subgraphs, functions."""
    if isinstance(message, kind):
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for part in value if isinstance(value, Sequence) or hasattr(value, "add") else (value,):
                yield from _tensors(part, kind)


if __name__ == "__main__":
    try:
        sys.stdout.buffer.write(_face(Path(sys.argv[1])).SerializeToString())
    except UnsoundGraph as fault:
        sys.stdout.write(str(fault))
        sys.exit(_UNSOUND)
