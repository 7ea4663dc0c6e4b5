"""Surgery on ONNX graphs: take columns instead of a matrix, drop outputs nobody reads, run."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import TensorProto, helper

from contracts.manifest import InputColumn
from leadline.publish.original import PublishError, first_line
from leadline.publish.rows import Floats, Rows, Scores, length, matrix

_TENSORS: dict[str, int] = {
    "float32": TensorProto.FLOAT,
    "float64": TensorProto.DOUBLE,
    "int64": TensorProto.INT64,
    "int32": TensorProto.INT32,
    "bool": TensorProto.BOOL,
    "string": TensorProto.STRING,
}
_OPSET, _ML_OPSET = 13, 3
_TRACED = (
    "A PyTorch module is traced: what asks for the number of rows in Python (len(x), "
    "int(x.shape[0]), a loop over rows) keeps the number it was traced with."
)
"""What the nodes put in front need: Concat and Cast, LabelEncoder with text keys."""


def take_columns(
    model: Any, inputs: Sequence[InputColumn], categories: Mapping[str, Sequence[str]]
) -> None:
    """Put in front of a matrix model one [rows, 1] input a column, text by its own category codes.

    Null text arrives as "" and, like an unseen category, becomes NaN.
    """
    graph = model.graph
    taken = graph.input[0].name
    nodes, parts = [], []
    for column in inputs:
        part = column.name
        if column.dtype == "string":
            part = f"front/{column.name}"
            values = [float(code) for code in range(len(categories[column.name]))]
            nodes.append(
                helper.make_node(
                    "LabelEncoder",
                    [column.name],
                    [part],
                    domain="ai.onnx.ml",
                    keys_strings=list(categories[column.name]),
                    values_floats=values,
                    default_float=float("nan"),
                )
            )
        elif column.dtype != "float32":
            part = f"front/{column.name}"
            nodes.append(helper.make_node("Cast", [column.name], [part], to=TensorProto.FLOAT))
        parts.append(part)
    nodes.append(helper.make_node("Concat", parts, [taken], axis=1))
    body = list(graph.node)
    del graph.node[:]
    graph.node.extend([*nodes, *body])
    del graph.input[:]
    graph.input.extend(
        helper.make_tensor_value_info(column.name, _TENSORS[column.dtype], [None, 1])
        for column in inputs
    )
    _import(model, "ai.onnx.ml", _ML_OPSET)
    _import(model, "", _OPSET)


def keep_output(model: Any, name: str, width: int) -> None:
    """Leave one output, float32 [rows, width], and only the nodes it needs."""
    graph = model.graph
    if not any(name in node.output for node in graph.node):
        raise PublishError(
            'The model gives values, not probabilities: is it task="regression"?'
            if name == "probabilities"
            else 'The model tells classes apart: is it task="classification"?'
        )
    _as_float32(graph, name)
    graph.name = "model"  # converters draw a name, which would make every export another content
    needed, kept = {name}, []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            needed.update(node.input)
            kept.append(node)
    del graph.node[:]
    graph.node.extend(reversed(kept))
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, width]))
    constants = [tensor for tensor in graph.initializer if tensor.name in needed]
    del graph.initializer[:]
    graph.initializer.extend(constants)
    del graph.value_info[:]


def _as_float32(graph: Any, name: str) -> None:
    """A graph of doubles gives doubles; what is served is single floats."""
    declared = {one.name: one.type.tensor_type.elem_type for one in graph.output}
    if declared.get(name) != TensorProto.DOUBLE:
        return
    wide = f"{name}/float64"
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [wide if each == name else each for each in names]
    graph.node.append(helper.make_node("Cast", [wide], [name], to=TensorProto.FLOAT))


def floor_splits(model: Any, thresholds: Mapping[int, Floats]) -> None:
    """Round the splits of tree ensembles down to float32, given the exact ones by feature index.

    Converters round doubles to the nearest; for a float32 x, x <= t holds exactly when
    x <= floor32(t).
    """
    floors = {
        (feature, np.float32(exact)): floor32(exact)
        for feature, values in thresholds.items()
        for exact in values.tolist()
    }
    for node in model.graph.node:
        if node.op_type.startswith("TreeEnsemble"):
            parts = {attribute.name: attribute for attribute in node.attribute}
            values = parts["nodes_values"].floats
            at = zip(parts["nodes_featureids"].ints, values, strict=True)
            floored = [float(floors.get((f, np.float32(v)), np.float32(v))) for f, v in at]
            del values[:]
            values.extend(floored)


def floor32(value: float) -> np.float32:
    """The greatest float32 that is not above ``value``."""
    with np.errstate(over="ignore"):
        nearest = np.float32(value)
    return np.nextafter(nearest, np.float32(-np.inf)) if float(nearest) > value else nearest


def _import(model: Any, domain: str, version: int) -> None:
    """Make sure that the graph may use the operators of a domain, of at least that version."""
    for opset in model.opset_import:
        if opset.domain == domain:
            opset.version = max(opset.version, version)
            return
    model.opset_import.append(helper.make_opsetid(domain, version))


def feeds_of(
    rows: Rows, inputs: Sequence[InputColumn], layout: str, name: str = "input"
) -> dict[str, npt.NDArray[Any]]:
    """The tensors that the serving side would feed for these rows."""
    if layout == "matrix":
        return {name: matrix(rows, [column.name for column in inputs], {})}
    feeds = {}
    for column in inputs:
        values = rows[column.name]
        if column.dtype == "string":
            filled = ["" if value is None else value for value in values.tolist()]
            values = np.array(filled, dtype=object)
        feeds[column.name] = values.reshape(-1, 1)
    return feeds


class Runner:
    """An ONNX graph in a session of one thread."""

    def __init__(self, content: bytes, inputs: Sequence[InputColumn], layout: str) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 4  # what fails is raised
        self._session = onnxruntime.InferenceSession(
            content, options, providers=["CPUExecutionProvider"]
        )
        self._inputs, self._layout = inputs, layout
        self.input_name = self._session.get_inputs()[0].name
        self.width = int(self._session.get_outputs()[0].shape[-1])

    def feeds(self, rows: Rows) -> dict[str, npt.NDArray[Any]]:
        """The tensors of these rows."""
        return feeds_of(rows, self._inputs, self._layout, self.input_name)

    def run(self, feeds: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[Any]:
        """The graph's first output as it comes."""
        answer: npt.NDArray[Any] = self._session.run(None, dict(feeds))[0]
        return answer

    def score(self, rows: Rows) -> Scores:
        """[n, outputs] in double precision. Raises ``PublishError`` where the graph answers no
        such number of rows."""
        feeds, wanted = self.feeds(rows), length(rows)
        try:
            answer = np.asarray(self.run(feeds), np.float64)
        except Exception as failed:  # ONNX Runtime's exceptions share no narrower public class
            raise PublishError(
                f"The export cannot compute {wanted} rows. {_TRACED} ({first_line(failed)})"
            ) from failed
        if answer.shape[:1] != (wanted,):
            raise PublishError(f"The export answers {len(answer)} of {wanted} rows. {_TRACED}")
        return answer.reshape(wanted, -1)


def serialized(model: Any) -> bytes:
    """The checked bytes of a graph. Raises ``onnx.checker.ValidationError``."""
    onnx.checker.check_model(model, full_check=False)
    content: bytes = model.SerializeToString()
    return content
