"""A fitted model, as publishing sees it: something that scores rows, and its ONNX graph."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import click

from contracts.manifest import InputColumn
from leadline.publish.rows import Floats, Rows, Scores


class PublishError(click.ClickException):
    """The model cannot be published as it is; the message says why and what to do."""


class NullRefusedError(Exception):
    """The original model does not take null."""


@contextmanager
def converting(by: str) -> Iterator[None]:
    """What a converter raises becomes a ``PublishError``: converters share no exception class, and
    meet what they do not know as a missing key or attribute as often as they refuse it."""
    try:
        yield
    except PublishError:
        raise
    except Exception as refused:
        raise PublishError(f"{by} cannot convert this model: {first_line(refused)}") from refused


def first_line(error: Exception) -> str:
    """What an error of a library says, in a line; a bare key or nothing gets its kind's name."""
    said = str(error).strip().splitlines()
    if not said or isinstance(error, KeyError):
        return f"{type(error).__name__} {said[0] if said else ''}".strip()
    return said[0]


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
        that order; ``names`` are the model's own, None where it was fitted on an array. An
        input may have a name of its own, but no other input's place."""
        if width != len(self.inputs):
            raise PublishError(
                f"The model takes {width} features, but {len(self.inputs)} inputs are described."
            )
        own = [] if names is None else list(names)
        if any(name in own and own.index(name) != at for at, name in enumerate(self.names)):
            raise PublishError(
                "The model was fitted on its inputs in another order than they are described in; "
                f"its own is {', '.join(own)}."
            )
