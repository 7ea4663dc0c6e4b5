"""The two ways in which a version arrives, as requests say and OpenAPI describes them."""

from typing import Any

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from contracts.problems import ProblemCode
from kit.problems import Problem, unfit
from registry.routes.multipart import MANIFEST_BYTES_MAX


class RunIn(BaseModel):
    """``POST /v1/models/{model}/versions`` as JSON: a finished MLflow run."""

    model_config = ConfigDict(extra="forbid")

    run_id: str = Field(pattern=r"^[0-9a-f]{32}$")
    artifact: str = Field(
        default="model",
        pattern=r"^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,62}(/[A-Za-z0-9_-][A-Za-z0-9_.-]{0,62}){0,3}$",
        description="The name of the logged ONNX model, or the folder of a logged bundle.",
    )
    manifest: dict[str, Any] = Field(
        default_factory=dict,
        description="Fields of the manifest that replace what was logged; of its training, single "
        "fields, such as metrics_rows.",
    )


async def run_asked_for(request: Request) -> RunIn | None:
    """The run that the body asks for; None when it is not JSON. Raises ``Problem``."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        return None
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MANIFEST_BYTES_MAX:
            raise Problem(
                ProblemCode.CONTENT_TOO_LARGE, f"The body may have {MANIFEST_BYTES_MAX} bytes."
            )
    try:
        return RunIn.model_validate_json(bytes(body))
    except ValidationError as wrong:
        raise unfit(wrong) from wrong


REQUEST_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["manifest", "model.onnx"],
                    "properties": {
                        "manifest": {"type": "string", "contentMediaType": "application/json"},
                        "model.onnx": {"type": "string", "format": "binary"},
                    },
                    "additionalProperties": {"type": "string", "format": "binary"},
                }
            },
            "application/json": {"schema": RunIn.model_json_schema()},
        },
    }
}
