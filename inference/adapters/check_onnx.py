"""Is it a sound ONNX graph, and whole in itself?

Parsing and checking hold the interpreter's lock, 13 ms a MiB, and meanwhile nobody is answered:
a model of 32 MB kept all callers waiting for 0.4 s, and for a second on a busy machine. Large ones
are therefore looked at in a process of their own, which this file is too.
"""

import subprocess
import sys

import onnx

ASIDE_BYTES = 1_000_000
"""Smaller ones are checked in less time than a process takes to start."""
CHECK_S_MAX = 120.0
_UNSOUND = 3
"""The exit code that says that a fault was found, which no crash gives."""


class UnsoundGraphError(Exception):
    """Why the model cannot be taken, in words."""


def check(content: bytes, aside_bytes: int = ASIDE_BYTES) -> None:
    """Blocking. Raises ``UnsoundGraphError``."""
    if len(content) < aside_bytes:
        _check(content)
    else:
        _check_aside(content)


def _check(content: bytes) -> None:
    try:
        model = onnx.load_model_from_string(content)
        onnx.checker.check_model(content if len(content) < 2**31 else model)
    except Exception as invalid:  # the checker and protobuf share no exception class
        raise UnsoundGraphError(f"no valid ONNX model: {str(invalid)[:300]}") from invalid
    external = onnx.TensorProto.EXTERNAL
    if any(tensor.data_location == external for tensor in model.graph.initializer):
        raise UnsoundGraphError("the model keeps weights outside its file")


def _check_aside(content: bytes) -> None:
    command = [sys.executable, "-P", __file__]
    try:
        done = subprocess.run(
            command, input=content, capture_output=True, timeout=CHECK_S_MAX, check=False
        )
    except subprocess.TimeoutExpired:
        raise UnsoundGraphError(f"checking it took longer than {CHECK_S_MAX:.0f} s") from None
    if done.returncode == _UNSOUND:
        raise UnsoundGraphError(done.stdout.decode(errors="replace"))
    if done.returncode:
        raise UnsoundGraphError(f"it could not be checked: exit code {done.returncode}")


if __name__ == "__main__":
    try:
        _check(sys.stdin.buffer.read())
    except UnsoundGraphError as fault:
        sys.stdout.write(str(fault))
        sys.exit(_UNSOUND)
