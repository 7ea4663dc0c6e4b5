import pytest
from pydantic import ValidationError

from registry.domain.plan import preset_plan


@pytest.mark.parametrize(
    ("task", "classes", "kind", "direction"),
    [
        ("classification", 0, "log_loss", "higher_is_worse"),
        ("classification", 2, "log_loss", "higher_is_worse"),
        ("classification", 3, "accuracy", "lower_is_worse"),
        ("regression", 0, "mae", "higher_is_worse"),
    ],
)
def test_a_preset_guards_the_loss_that_what_is_served_allows(
    task: str, classes: int, kind: str, direction: str
) -> None:
    *_, loss = preset_plan("standard", task, classes).guards
    assert (loss.kind, loss.direction) == (kind, direction)


@pytest.mark.parametrize("field", ["name", "task", "classes"])
def test_a_field_that_no_plan_has_is_refused_whatever_it_is_called(field: str) -> None:
    with pytest.raises(ValidationError, match=field):
        preset_plan("standard", "classification", **{field: "x"})


def test_a_model_of_bare_tensors_has_no_step_in_the_shadow() -> None:
    assert preset_plan("careful", "classification").shadow is not None
    assert preset_plan("careful", "raw").shadow is None
