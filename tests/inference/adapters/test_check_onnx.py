import onnx
import pytest
from onnx import TensorProto, helper

from inference.adapters.check_onnx import UnsoundGraphError, check

EVERYTHING = 0
NOTHING = 10**9


def _model(*, outside: bool = False) -> bytes:
    weight = helper.make_tensor("w", TensorProto.FLOAT, [1], [2.0])
    if outside:
        weight.data_location = TensorProto.EXTERNAL
        weight.ClearField("float_data")
        weight.external_data.add(key="location", value="weights.bin")
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    node = helper.make_node("Add", ["x", "w"], ["y"])
    graph = helper.make_graph([node], "g", ends[:1], ends[1:], [weight])
    content: bytes = helper.make_model(graph).SerializeToString()
    return content


def _with_a_node_of_nothing() -> bytes:
    model = onnx.load_model_from_string(_model())
    model.graph.node.append(helper.make_node("Add", ["nowhere", "x"], ["z"]))
    content: bytes = model.SerializeToString()
    return content


@pytest.mark.parametrize("aside_bytes", [EVERYTHING, NOTHING])
def test_a_large_model_is_judged_as_a_small_one(aside_bytes: int) -> None:
    check(_model(), aside_bytes)
    for wrong in (b"no model", _with_a_node_of_nothing()):
        with pytest.raises(UnsoundGraphError, match="no valid ONNX model: "):
            check(wrong, aside_bytes)


@pytest.mark.parametrize("aside_bytes", [EVERYTHING, NOTHING])
def test_weights_outside_the_file_are_refused(aside_bytes: int) -> None:
    with pytest.raises(UnsoundGraphError, match=r"weights\.bin|outside its file"):
        check(_model(outside=True), aside_bytes)


def test_a_fault_is_told_alike_in_either_process() -> None:
    said = set()
    for aside_bytes in (EVERYTHING, NOTHING):
        with pytest.raises(UnsoundGraphError) as told:
            check(b"no model", aside_bytes)
        said.add(str(told.value))
    assert len(said) == 1
