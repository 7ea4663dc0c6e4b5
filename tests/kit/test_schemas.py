from jsonschema import Draft202012Validator
from pydantic import BaseModel, ConfigDict

from kit.schemas import whole_schema


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid")

    weight: float


class Whole(BaseModel):
    parts: list[Part]
    spare: Part | None = None


def test_a_schema_inside_of_a_document_needs_nothing_outside_of_it() -> None:
    schema = whole_schema(Whole)
    assert "$ref" not in str(schema)
    accepts = Draft202012Validator(schema).is_valid
    assert accepts({"parts": [{"weight": 1.5}], "spare": {"weight": 2}})
    assert not accepts({"parts": [{"weight": "heavy"}]})
    assert not accepts({"parts": [], "spare": {"weight": 1, "colour": "red"}})
