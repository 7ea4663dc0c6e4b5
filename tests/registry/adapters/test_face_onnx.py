"""What a graph takes and gives, and what is wrong with it: here or in a process of its own."""

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from registry.adapters.face_onnx import UnsoundGraph, face_of
from tests.registry.conftest import doubling_model, onnx_from

HERE, ASIDE = 1_000_000, 0


def _kept(folder: Path, content: bytes) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("aside_bytes", [HERE, ASIDE])
def test_a_face_is_the_inputs_and_outputs_and_nothing_that_is_large(
    tmp_path: Path, aside_bytes: int
) -> None:
    model = onnx_from(doubling_model())
    model.graph.input.append(helper.make_tensor_value_info("factor", TensorProto.FLOAT, [1]))
    path = _kept(tmp_path, model.SerializeToString())
    face = face_of(path, aside_bytes)
    assert [one.name for one in face.graph.input] == ["input"]  # a constant is none, listed or not
    assert list(face.graph.output) == list(model.graph.output)
    assert not face.graph.node
    assert not face.graph.initializer


def _unknown_operator() -> bytes:
    model = onnx_from(doubling_model())
    model.graph.node[0].op_type = "Triple"
    return bytes(model.SerializeToString())


def _elsewhere() -> bytes:
    model = onnx_from(doubling_model())
    tensor = numpy_helper.from_array(numpy_helper.to_array(model.graph.initializer[0]), "factor")
    onnx.external_data_helper.set_external_data(tensor, "weights.bin")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    model.graph.initializer[0].CopyFrom(tensor)
    return bytes(model.SerializeToString())


@pytest.mark.parametrize("aside_bytes", [HERE, ASIDE])
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"no model", "its bytes cannot be read as one"),
        (_unknown_operator(), "No Op registered for Triple"),
        (_elsewhere(), "keeps weights in other files"),
    ],
    ids=["bytes", "operator", "elsewhere"],
)
def test_what_is_wrong_is_said_alike_in_both_places(
    tmp_path: Path, content: bytes, said: str, aside_bytes: int
) -> None:
    with pytest.raises(UnsoundGraph, match=said):
        face_of(_kept(tmp_path, content), aside_bytes)


def test_a_check_that_breaks_off_refuses_the_graph(tmp_path: Path) -> None:
    folder = tmp_path / "a folder.onnx"
    folder.mkdir()
    with pytest.raises(UnsoundGraph, match="it could not be checked: exit code 1"):
        face_of(folder, ASIDE)
