"""Whether the rows of a graph are answered each for itself."""

import pytest
from onnx import TensorProto, helper

from inference.adapters.row_probe import rows_are_apart
from inference.adapters.session_onnxruntime import open_session
from tests.inference.raw_models import (
    centred_model,
    echo_model,
    gather_model,
    product_model,
    table_model,
    total_model,
)


def _reshaping() -> bytes:
    """Takes rows of any width that has 7 columns in the end: none that is made up."""
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [None, None]) for n in ("x", "y")]
    sizes = helper.make_tensor("sizes", TensorProto.INT64, [2], [-1, 7])
    node = helper.make_node("Reshape", ["x", "sizes"], ["y"])
    graph = helper.make_graph([node], "reshaping", ends[:1], ends[1:], [sizes])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(model.SerializeToString())


@pytest.mark.parametrize(
    ("content", "apart"),
    [
        (echo_model(), True),
        (gather_model(), True),
        (table_model(), True),
        (centred_model(), False),
        (total_model(), False),
        (product_model(), False),
        pytest.param(_reshaping(), True, id="computes nothing that is made up"),
    ],
)
def test_made_up_rows_show_whether_each_is_answered_for_itself(content: bytes, apart: bool) -> None:
    assert rows_are_apart(open_session(content, (), 1)) is apart
