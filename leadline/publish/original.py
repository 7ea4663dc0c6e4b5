"""A fitted model, as publishing sees it: something that scores rows, and its ONNX graph."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import click

from contracts.manifest import InputColumn
from leadline.publish.rows import Floats, Rows, Scores


class PublishError(click.ClickException):
    """The model cannot be published as it is; the message says why and what to do."""


class NullRefusedError(Exception):
    """The original model does not take null."""


@dataclass(frozen=True, slots=True)
class Original:
    """What a converter makes of a fitted model."""

    framework: str
    graph: Any  # onnx.ModelProto
    layout: Literal["matrix", "columns"]
    """How the graph takes its inputs (``contracts.manifest.Tensors``)."""
    output: str
    """The graph's output with class probabilities or values."""
    score: Callable[[Rows], Scores]
    """The original's answers. Raises ``NullRefusedError`` for rows with null it does not take."""
    hyperparameters: Mapping[str, Any]
    thresholds: Mapping[str, Floats] = field(default_factory=dict)
    """By input: the values at which the model's answer may jump (tree splits)."""
    is_tree: bool = False


@dataclass(frozen=True, slots=True)
class Task:
    """What a converter needs to know beside the model."""

    kind: Literal["classification", "regression"]
    inputs: Sequence[InputColumn]
    categories: Mapping[str, Sequence[str]]
    """By text input: the values the model was trained on, in the order of their codes."""

    @property
    def names(self) -> list[str]:
        """Input names in the model's order."""
        return [column.name for column in self.inputs]

    def check_fitted_on(self, names: Sequence[str] | None, width: int) -> None:
        """Raises ``PublishError`` unless the inputs are those that the model was fitted on, in
        that order; ``names`` are the model's own, None where it was fitted on an array."""
        if width != len(self.inputs):
            raise PublishError(
                f"The model takes {width} features, but {len(self.inputs)} inputs are described."
            )
        if names is None or set(names) != set(self.names) or list(names) == self.names:
            return
        raise PublishError(
            "The model was fitted on its inputs in another order than they are described in; "
            f"its own is {', '.join(names)}."
        )
