"""Instants as callers write them: ISO 8601 with an offset, and nothing that only looks like it."""

import re
from datetime import datetime
from typing import Annotated, Any

from pydantic import AwareDatetime, Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

_BEGINS = r"^\d{4}-"
_WANTED = "an ISO 8601 instant with its offset, such as 2013-12-01T16:40:00Z"
_CODE = "instant_type"


class _Written:
    """pydantic takes numbers, and texts of digits, for seconds since 1970: 20131201 is in August of
    that year. JSON is checked without Python, because labels come by the ten thousand."""

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        instant = handler(source)
        written = core_schema.custom_error_schema(
            core_schema.str_schema(pattern=_BEGINS),
            custom_error_type=_CODE,
            custom_error_message=_WANTED,
        )
        return core_schema.json_or_python_schema(
            core_schema.chain_schema([written, instant]),
            core_schema.no_info_before_validator_function(_written, instant),
        )

    def __get_pydantic_json_schema__(
        self, _schema: CoreSchema, _handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"type": "string", "format": "date-time"}


def _written(value: Any) -> Any:
    if isinstance(value, datetime) or (isinstance(value, str) and re.match(_BEGINS, value)):
        return value
    raise PydanticCustomError(_CODE, _WANTED)


Instant = Annotated[AwareDatetime, Field(strict=False), _Written()]
