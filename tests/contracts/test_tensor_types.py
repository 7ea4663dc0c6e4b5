import onnx
import pytest

from contracts.tensor_types import SERVED, TensorType
from inference.domain.tensors import from_binary


@pytest.mark.parametrize("one", SERVED, ids=lambda one: one.datatype)
def test_each_type_has_one_meaning_under_its_three_names(one: TensorType) -> None:
    assert onnx.TensorProto.DataType.Name(one.number).lower() == one.element
    dtype = onnx.helper.tensor_dtype_to_np_dtype(one.number)
    empty = bytes(4 if one.datatype == "BYTES" else dtype.itemsize)  # a text of length 0, or a 0
    assert from_binary("x", one.datatype, (1,), empty).dtype == dtype
