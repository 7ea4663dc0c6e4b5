import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.envelope import BadEnvelope, glance_at, has_duplicate_names, read_envelope
from contracts.problems import ProblemCode

GOOD = {"model": "delay", "instances": [{"carrier": "UA", "distance": 1400, "t": "10:00"}]}
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.text()
    | st.floats(allow_nan=False, allow_infinity=False)
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


def refusal(body: bytes) -> BadEnvelope:
    with pytest.raises(BadEnvelope) as caught:
        read_envelope(body)
    with pytest.raises(BadEnvelope) as again:  # as strict after a glance
        read_envelope(body, body.count(b"{") - 1)
    assert (caught.value.code, caught.value.errors) == (again.value.code, again.value.errors)
    return caught.value


@given(st.lists(st.dictionaries(st.text(), SCALARS, max_size=4), min_size=1, max_size=5))
def test_every_batch_of_scalar_rows_is_accepted_and_means_the_same(rows: list[Any]) -> None:
    body = json.dumps({"model": "delay", "instances": rows}).encode()
    assert read_envelope(body) == ("delay", rows)
    seen = glance_at(body)
    assert seen is not None
    assert seen[0] == "delay"
    assert seen[1] >= len(rows)
    assert read_envelope(body, seen[1]) == ("delay", rows)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xef\xbb\xbf" + orjson.dumps(GOOD),
        orjson.dumps(dict(reversed(GOOD.items()))),
        orjson.dumps({**GOOD, "model": "No"}),
        orjson.dumps({**GOOD, "instances": []}),
        b'{"\\u006dodel": "delay", "instances": [{}]}',
    ],
)
def test_a_glance_at_an_unusual_body_tells_nothing(body: bytes) -> None:
    assert glance_at(body) is None


@pytest.mark.parametrize(
    "value",
    [b"NaN", b"Infinity", b"-Infinity", b"1e400", b'"\\ud800"', b'"\xff"', b"01", b"'a'", b"[1,]"],
)
def test_what_is_no_json_is_malformed(value: bytes) -> None:
    body = b'{"model": "delay", "instances": [{"x": ' + value + b"}]}"
    assert refusal(body).code is ProblemCode.MALFORMED_JSON


@pytest.mark.parametrize("body", [b"", b"\xef\xbb\xbf{}", b"{} {}", b"[" * 100_000, b"\x00"])
def test_what_is_no_document_is_malformed(body: bytes) -> None:
    assert refusal(body).code is ProblemCode.MALFORMED_JSON


@pytest.mark.parametrize(
    "body",
    [
        b'{"model": "delay", "model": "x", "instances": [{"a": 1}]}',
        b'{"model": "delay", "instances": [{"a": 1, "a": 2}]}',
        b'{"model": "delay", "instances": [{"a": 1, "\\u0061": 2, "b": "\\u003a"}]}',
        b'{"model": "delay", "instances": [{"a": 1}], "instances": [{"a": 1}]}',
        b'{"instances": ' + b"[" * 1000 + b"]" * 1000 + b', "model": "delay", '
        b'"instances": [{"a\\u003a": 1}]}',
    ],
)
def test_a_name_that_stands_twice_is_malformed(body: bytes) -> None:
    assert refusal(body).code is ProblemCode.MALFORMED_JSON


@given(JSON)
def test_duplicates_are_found_exactly_where_there_are_some(document: Any) -> None:
    for written in (json.dumps(document), json.dumps(document, ensure_ascii=False)):
        body = written.encode("utf-8", "surrogatepass")
        parsed = orjson.loads(body)
        assert not has_duplicate_names(body, orjson.dumps(parsed))
        doubled = b'{"k:": ' + body + b', "k:": ' + body + b"}"
        assert has_duplicate_names(doubled, orjson.dumps(orjson.loads(doubled)))


@pytest.mark.parametrize(
    ("document", "pointer", "code"),
    [
        ([], "", "object-expected"),
        ({"instances": [{}]}, "/model", "missing"),
        ({"model": "delay"}, "/instances", "missing"),
        ({"model": 3, "instances": [{}]}, "/model", "model-name-expected"),
        ({"model": "../x", "instances": [{}]}, "/model", "model-name-expected"),
        ({"model": "m", "instances": {}}, "/instances", "array-expected"),
        ({"model": "m", "instances": []}, "/instances", "empty"),
        ({"model": "m", "instances": [{}], "secret": 1}, "", "unknown-member"),
        ({"model": "m", "instances": [{}, 5]}, "/instances/1", "object-expected"),
        ({"model": "m", "instances": [{"a": [1]}]}, "/instances/0/a", "scalar-expected"),
        ({"model": "m", "instances": [{"<b>": {}}]}, "/instances/0", "scalar-expected"),
        ({"model": "m", "instances": [{}] * 10_001}, "/instances", "more-than-10000-rows"),
    ],
)
def test_what_does_not_fit_is_pointed_at(document: Any, pointer: str, code: str) -> None:
    caught = refusal(orjson.dumps(document))
    assert caught.code is ProblemCode.INVALID_INPUT
    assert {"pointer": pointer, "code": code} in caught.errors


def test_an_unknown_member_is_answered_with_the_known_ones() -> None:
    caught = refusal(orjson.dumps({"model": "m", "instances": [{}], "secret": 1}))
    assert "model and instances" in caught.detail
    assert "secret" not in caught.detail


def test_more_cells_than_allowed_are_refused() -> None:
    row = {f"f{i}": i for i in range(101)}
    caught = refusal(orjson.dumps({"model": "m", "instances": [row] * 2000}))
    assert caught.errors == [{"pointer": "/instances", "code": "more-than-200000-cells"}]


def test_a_thousand_faults_give_twenty_errors_and_no_echo() -> None:
    caught = refusal(orjson.dumps({"model": "m", "instances": ["hunter2"] * 1000}))
    assert len(caught.errors) == 20
    assert "hunter2" not in str(caught) + str(caught.errors)


@given(st.binary(max_size=200))
def test_any_bytes_are_answered_by_the_catalogue(body: bytes) -> None:
    assert refusal(body).code in {ProblemCode.MALFORMED_JSON, ProblemCode.INVALID_INPUT}


@given(JSON)
def test_any_document_is_accepted_or_refused_with_errors(document: Any) -> None:
    body = json.dumps({"model": "m", "instances": document}).encode()
    sound = (
        isinstance(document, list)
        and document
        and all(
            isinstance(row, dict)
            and not any(isinstance(cell, dict | list) for cell in row.values())
            for row in document
        )
    )
    if sound:
        assert read_envelope(body)[1] == document
    else:
        assert refusal(body).errors


def test_deep_nesting_is_refused_as_anything_that_is_no_scalar() -> None:
    deep = b'{"model": "m", "instances": [{"a": ' + b"[" * 900 + b"]" * 900 + b"}]}"
    assert refusal(deep).errors == [{"pointer": "/instances/0/a", "code": "scalar-expected"}]
