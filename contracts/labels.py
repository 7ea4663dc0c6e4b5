"""Labels and business events, as callers send them (``POST /v1/labels``, ``/v1/events``)."""

from typing import Annotated, Any

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)

TEXT_CHARACTERS_MAX = 256
Text = Annotated[str, Field(min_length=1, max_length=TEXT_CHARACTERS_MAX)]


def _truth(value: Any, handler: ValidatorFunctionWrapHandler) -> float | bool | str:
    """What is none of the three is one error at its place, not three at places that are not."""
    try:
        truth: float | bool | str = handler(value)
    except ValidationError:
        detail = f"a number, true, false or a text of 1 to {TEXT_CHARACTERS_MAX} characters"
        raise ValueError(detail) from None
    return truth


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class LabelIn(_Strict):
    """The truth about one served prediction.

    Named by (request_id, row), or by (model, unit, prediction time). Sending the same label twice
    changes nothing; a later ``event_time`` for the same prediction revises it.
    """

    model: Text
    request_id: Text | None = None
    row: int = Field(default=0, ge=0, le=9_999)
    unit: Text | None = None
    predicted_at: AwareDatetime | None = Field(default=None, strict=False)
    label: Annotated[float | bool | Text, WrapValidator(_truth)]
    event_time: AwareDatetime = Field(strict=False)

    @model_validator(mode="after")
    def _is_named(self) -> "LabelIn":
        if self.request_id is None and (self.unit is None or self.predicted_at is None):
            raise ValueError("a label names request_id, or unit and predicted_at")
        return self


class LabelsIn(_Strict):
    """``POST /v1/labels``."""

    labels: tuple[LabelIn, ...] = Field(min_length=1, max_length=10_000)


class EventIn(_Strict):
    """Something that happened in the business: a click, a conversion, a churn, revenue."""

    model: Text
    name: Text
    value: float = 1.0
    request_id: Text | None = None
    row: int = Field(default=0, ge=0, le=9_999)
    unit: Text | None = None
    event_id: Text
    event_time: AwareDatetime = Field(strict=False)


class EventsIn(_Strict):
    """``POST /v1/events``."""

    events: tuple[EventIn, ...] = Field(min_length=1, max_length=10_000)
