"""PyTorch modules to ONNX."""

import io
import warnings
from typing import Any

import numpy as np
import onnx
import torch

from leadline.publish import graph
from leadline.publish.original import Original, PublishError, Task, converting, first_line
from leadline.publish.rows import Rows, Scores, matrix

_OPSET = 17
_PROBE_ROWS = 16


class _BothClasses(torch.nn.Module):  # type: ignore[misc]  # torch is optional, so untyped
    """One probability [n, 1] becomes [n, 2]: of the negative and of the positive class."""

    def __init__(self, inner: torch.nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        positive = self.inner(rows)
        return torch.cat([1 - positive, positive], dim=1)


def convert_torch_module(model: Any, task: Task) -> Original:
    """A module from float32 [n, inputs] (text inputs as codes) to probabilities [n, classes] or
    [n, 1], or to values [n, 1]. Logits are refused: a probability is what is judged and compared.
    """
    module = model.eval()
    width = _probe(module, task)
    classification = task.kind == "classification"
    if classification and width == 1:
        module, width = _BothClasses(module).eval(), 2
    output = "probabilities" if classification else "variable"
    converted = _export(module, len(task.inputs), output)
    graph.keep_output(converted, output, width)
    if task.categories:
        graph.take_columns(converted, task.inputs, task.categories)
    parameters = sum(weights.numel() for weights in module.parameters())
    return Original(
        framework="pytorch",
        graph=converted,
        layout="columns" if task.categories else "matrix",
        output=output,
        score=lambda rows: _score(module, rows, task),
        hyperparameters={"module": type(model).__qualname__, "parameters": parameters},
    )


def _probe(module: Any, task: Task) -> int:
    """The width of the output, after a look at what it is."""
    random = np.random.default_rng(0)
    rows = random.normal(size=(_PROBE_ROWS, len(task.inputs))).astype(np.float32)
    try:
        with torch.inference_mode():
            answer = module(torch.from_numpy(rows))
    except Exception as refused:  # a module is its author's code and may raise anything
        raise PublishError(
            f"The module does not take float32 [rows, {len(task.inputs)}], one column an input: "
            f"{first_line(refused)}"
        ) from refused
    if not isinstance(answer, torch.Tensor) or answer.ndim != 2 or len(answer) != _PROBE_ROWS:
        raise PublishError("The module must return one tensor [rows, outputs].")
    values = answer.double().numpy()
    if task.kind == "regression":
        if values.shape[1] != 1:
            raise PublishError(f"A regression returns [rows, 1], not [rows, {values.shape[1]}].")
        return 1
    inside = bool(((values >= 0) & (values <= 1)).all())
    if not inside or (values.shape[1] > 1 and not np.allclose(values.sum(axis=1), 1, atol=1e-4)):
        raise PublishError(
            "The module returns logits, not probabilities: publish "
            "torch.nn.Sequential(model, torch.nn.Softmax(dim=1)) or (…, torch.nn.Sigmoid())."
        )
    return int(values.shape[1])


def _export(module: Any, width: int, output: str) -> Any:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # The exporter that needs no further package announces its successor at every call.
        warnings.simplefilter("ignore")
        with converting("torch.onnx"):
            torch.onnx.export(
                module,
                (torch.zeros(2, width),),
                buffer,
                input_names=["input"],
                output_names=[output],
                dynamic_axes={"input": {0: "rows"}, output: {0: "rows"}},
                opset_version=_OPSET,
                dynamo=False,
            )
    return onnx.load_model_from_string(buffer.getvalue())


def _score(module: Any, rows: Rows, task: Task) -> Scores:
    with torch.inference_mode():
        given = torch.from_numpy(matrix(rows, task.names, task.categories))
        return np.asarray(module(given).double().numpy(), np.float64)
