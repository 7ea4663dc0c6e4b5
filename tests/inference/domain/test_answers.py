"""Bodies of answers, as the gateway's OpenAPI document has them."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import orjson
import pytest

import gateway
from inference.domain.answers import TAILS, AnswerWriter, mixed_body
from tests.inference.raw_models import raw_manifest

OLD, NEW = (
    AnswerWriter(raw_manifest(b"", "delay"), version, variant)
    for version, variant in (("1", "production"), ("2", "canary"))
)
ROW = b'{"prediction":"late","probability":0.5,"decision":"call"}'
ERROR = b'{"error":{"code":"invalid-input","detail":"..."}}'


def _documented() -> dict[str, Any]:
    assert gateway.__file__ is not None
    whole = json.loads((Path(gateway.__file__).parent / "predict_openapi.json").read_text())
    answers = whole["paths"]["/predict"]["post"]["responses"]["200"]
    schema: dict[str, Any] = answers["content"]["application/json"]["schema"]
    return schema


@pytest.mark.parametrize("writers", [(OLD, OLD), (OLD, NEW)], ids=["one", "several"])
def test_an_answer_of_one_or_of_several_versions_is_as_documented(
    writers: tuple[AnswerWriter, AnswerWriter],
) -> None:
    rows = list(zip((ROW, ERROR), writers, strict=True))
    told = orjson.loads(mixed_body("delay", b"r" * 16, rows, TAILS["off"]))
    jsonschema.validate(told, _documented())
    versions = [row.get("version") for row in told["predictions"]]
    assert (told["version"], versions) == (
        ("1", [None, None]) if writers[0] is writers[1] else (None, ["1", "2"])
    )
