"""Labels and business events, as callers send them (``POST /v1/labels``, ``/v1/events``)."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, model_validator
from pydantic_core import CoreSchema, core_schema

from contracts.instants import Instant

TEXT_CHARACTERS_MAX = 256
Text = Annotated[str, Field(min_length=1, max_length=TEXT_CHARACTERS_MAX)]


class _OneError:
    """What is none of the three is one error at its place, not three at places that are not."""

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.custom_error_schema(
            handler(source),
            custom_error_type="label_type",
            custom_error_message=(
                f"a number, true, false or a text of 1 to {TEXT_CHARACTERS_MAX} characters"
            ),
        )


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
    predicted_at: Instant | None = None
    label: Annotated[float | bool | Text, _OneError()]
    event_time: Instant

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
    event_time: Instant


class EventsIn(_Strict):
    """``POST /v1/events``."""

    events: tuple[EventIn, ...] = Field(min_length=1, max_length=10_000)
