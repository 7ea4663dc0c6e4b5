"""JSON schemas of bodies that a route reads by itself, for its OpenAPI document."""

from typing import Any

from pydantic import BaseModel


def whole_schema(kind: type[BaseModel]) -> dict[str, Any]:
    """The schema of ``kind`` with what it refers to written out where it is used.

    Its own references count from the schema's root, which inside of a document is not the root.
    ``kind`` must not contain itself.
    """
    schema = kind.model_json_schema()
    known = schema.pop("$defs", {})
    whole: dict[str, Any] = _written_out(schema, known)
    return whole


def _written_out(part: Any, known: dict[str, Any]) -> Any:
    if isinstance(part, list):
        return [_written_out(one, known) for one in part]
    if not isinstance(part, dict):
        return part
    ref = part.get("$ref")
    if isinstance(ref, str):
        return _written_out(known[ref.removeprefix("#/$defs/")], known)
    return {name: _written_out(value, known) for name, value in part.items()}
