"""Entity rows and keys: what is read from the command line."""

import click
import pytest

from leadline.commands.entity_rows import entity_row, key_texts, names_of_text, texts_of


def test_an_entity_row_is_json_or_pairs() -> None:
    assert entity_row(('{"a": 1}',)) == {"a": 1}
    assert entity_row(("carrier=UA", "number=7", "code=007", "empty=", "far=NaN")) == {
        "carrier": "UA",
        "number": 7,
        "code": "007",
        "empty": "",
        "far": "NaN",
    }


def test_what_is_defined_as_text_is_text_whatever_it_looks_like() -> None:
    entities = {"user": {"keys": {"user_id": "string"}}, "plane": {"keys": {"number": "int64"}}}
    functions = {"basket": {"request": {"coupon": "string", "price": "float64"}}}
    text = names_of_text({"entities": entities, "on_demand": functions})
    assert text == {"user_id", "coupon"}
    pairs = ("user_id=1234", "coupon=true", "price=5", "number=7")
    assert entity_row(pairs, text) == {
        "user_id": "1234",
        "coupon": "true",
        "price": 5,
        "number": 7,
    }
    assert entity_row(('{"user_id": 1234}',), text) == {"user_id": 1234}
    twice = {**entities, "shop": {"keys": {"user_id": "int64"}}}
    assert names_of_text({"entities": twice, "on_demand": {}}) == set()


def test_the_columns_of_a_source_say_which_are_text() -> None:
    columns = {"user_id": "string", "amount": "float64"}
    definitions = {"sources": {"orders": {"columns": columns}}}
    assert texts_of("orders", definitions) == {"event_id", "user_id"}
    assert texts_of("no_such", definitions) == {"event_id"}


def test_a_key_is_what_was_written() -> None:
    pairs = ("user=1e5", "flag=true", "code=007", "none=null", "whole=5", "eq=a=b")
    assert key_texts(pairs) == {
        "user": "1e5",
        "flag": "true",
        "code": "007",
        "none": "null",
        "whole": "5",
        "eq": "a=b",
    }
    assert key_texts(('{"user": "1e5", "flag": true, "whole": 5}',)) == {
        "user": "1e5",
        "flag": "true",
        "whole": "5",
    }


@pytest.mark.parametrize("wrong", ["{", "carrier", '{"a": NaN}', '{"a": 1e999}'])
def test_what_is_neither_json_nor_pairs_is_refused(wrong: str) -> None:
    for read in (entity_row, key_texts):
        with pytest.raises(click.UsageError):
            read((wrong,))
