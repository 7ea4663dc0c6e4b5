from typing import Any

import pytest

from leadline.publish.convert import original_of
from leadline.publish.graph import Runner, serialized
from leadline.publish.original import PublishError, Task
from leadline.publish.parity import compare, refuse_unless_it_holds
from tests.leadline.publish.flowers import COLOURS, INPUTS, NUMBERS, flowers

torch = pytest.importorskip("torch", reason="PyTorch is an optional framework")

FILLED = [c.model_copy(update={"on_missing": "default", "default": 0.0}) for c in NUMBERS]
NUMERIC = Task("classification", FILLED, {})


def _net(*last: Any, inputs: int = 3, outputs: int = 1) -> Any:
    torch.manual_seed(1)
    layers = [torch.nn.Linear(inputs, 8), torch.nn.ReLU(), torch.nn.Linear(8, outputs)]
    return torch.nn.Sequential(*layers, *last)


@pytest.mark.parametrize(
    ("model", "task", "width"),
    [
        (_net(torch.nn.Sigmoid()), NUMERIC, 2),
        (_net(torch.nn.Softmax(dim=1), outputs=3), NUMERIC, 3),
        (_net(), Task("regression", FILLED, {}), 1),
    ],
    ids=["sigmoid", "softmax", "regression"],
)
def test_the_export_answers_as_the_module(model: Any, task: Task, width: int) -> None:
    original = original_of(model, task)
    runner = Runner(serialized(original.graph), task.inputs, original.layout)
    rows = flowers(nulls=False).held_back().rows
    report = compare(original, runner.score, rows, task.inputs, tolerance=1e-5, threshold=None)
    assert original.score(rows).shape == (500, width)
    assert report.holds, report.worst[0]


def test_text_reaches_a_module_as_its_code() -> None:
    inputs = [*FILLED, INPUTS[3]]
    task = Task("classification", inputs, {"colour": COLOURS})
    original = original_of(_net(torch.nn.Sigmoid(), inputs=4), task)
    assert original.layout == "columns"
    rows = flowers(nulls=False).held_back().rows
    runner = Runner(serialized(original.graph), inputs, original.layout)
    report = compare(original, runner.score, rows, inputs, tolerance=1e-5, threshold=None)
    assert report.holds, report.worst[0]


def test_logits_are_refused_with_the_layer_to_add() -> None:
    with pytest.raises(PublishError, match=r"torch\.nn\.Sigmoid"):
        original_of(_net(outputs=3), NUMERIC)


def test_a_module_that_takes_something_else_is_told_what_is_given() -> None:
    class ByName(torch.nn.Module):  # type: ignore[misc, name-defined]
        def forward(self, rows: Any) -> Any:
            return rows["length"]

    with pytest.raises(PublishError, match=r"does not take float32 \[rows, 3\]"):
        original_of(ByName(), NUMERIC)


def test_a_module_whose_answer_to_a_null_is_none_is_refused_where_null_may_come() -> None:
    original = original_of(_net(torch.nn.Sigmoid()), Task("classification", NUMBERS, {}))
    runner = Runner(serialized(original.graph), NUMBERS, original.layout)
    rows = flowers(nulls=False).held_back().rows
    report = compare(original, runner.score, rows, NUMBERS, tolerance=1e-5, threshold=None)
    with pytest.raises(PublishError, match="does not take null"):
        refuse_unless_it_holds(report)


@pytest.mark.parametrize("kept", ["size", "loop"])
def test_a_module_that_was_traced_for_one_number_of_rows_is_refused(kept: str) -> None:
    class Fixed(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.inner = _net(torch.nn.Sigmoid())

        def forward(self, rows: Any) -> Any:
            if kept == "size":
                return self.inner(rows.reshape(int(rows.shape[0]), 3))
            return torch.cat([self.inner(rows[row : row + 1]) for row in range(len(rows))])

    original = original_of(Fixed(), NUMERIC)
    runner = Runner(serialized(original.graph), FILLED, original.layout)
    with pytest.raises(PublishError, match=r"A PyTorch module is traced: what asks for the number"):
        runner.score(flowers(nulls=False).held_back().rows)
