"""Versions that should not reach anybody: made from a good one, so that only the fault differs."""

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from contracts.manifest import Calibration
from leadline.publish.bundle import Bundle, entries
from leadline.publish.graph import serialized

TURNS = 60_000
"""Of the idle loop; about a fifth of a second a call."""


def slowed(good: Bundle, turns: int = TURNS) -> Bundle:
    """The same answers, after a loop that computes nothing."""
    model = onnx.load_model_from_string(good.files["model.onnx"])
    graph = model.graph
    output = graph.output[0]
    answer = f"{output.name}/before"
    for node in graph.node:
        node.output[:] = [answer if name == output.name else name for name in node.output]
    constants = {
        "idle/turns": np.array(turns, np.int64),
        "idle/go": np.array(True),
        "idle/zero": np.zeros(1, np.float32),
    }
    graph.initializer.extend(
        numpy_helper.from_array(value, name) for name, value in constants.items()
    )
    graph.node.extend(
        [
            helper.make_node(
                "Loop", ["idle/turns", "idle/go", "idle/zero"], ["idle/sum"], body=_idle()
            ),
            helper.make_node("Add", [answer, "idle/sum"], [output.name]),
        ]
    )
    files = {**good.files, "model.onnx": serialized(model)}
    return Bundle(good.manifest.model_copy(update={"files": entries(files)}), files)


def wrong(good: Bundle) -> Bundle:
    """The same graph with its two classes the wrong way round: on time is late, late is on time."""
    swapped = Calibration(scores=(0.0, 1.0), probabilities=(1.0, 0.0))
    post = good.manifest.post_processing.model_copy(update={"calibration": swapped})
    return Bundle(good.manifest.model_copy(update={"post_processing": post}), good.files)


def _idle() -> Any:  # onnx.GraphProto
    """One turn: the sum plus itself, which is zero."""
    value = helper.make_tensor_value_info
    return helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["again"]),
            helper.make_node("Add", ["sum", "sum"], ["more"]),
        ],
        "idle",
        [
            value("turn", TensorProto.INT64, []),
            value("go", TensorProto.BOOL, []),
            value("sum", TensorProto.FLOAT, [1]),
        ],
        [value("again", TensorProto.BOOL, []), value("more", TensorProto.FLOAT, [1])],
    )
