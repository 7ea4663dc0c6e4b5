"""Keys of entities, encoded one by one and many at once."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_store.domain.keys import InvalidKey, KeyEncoder
from shared_features import Entity

ONE = KeyEncoder(Entity("user", keys={"user": "string"}), "ll")
TWO = KeyEncoder(Entity("pair", keys={"user": "string", "shop": "int64"}), "ll")
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "user": st.none() | st.text(st.characters(exclude_categories=["Cs"])),
            "shop": st.none() | st.integers(-(2**63), 2**63 - 1),
        }
    )
)


@given(ROWS)
def test_many_keys_are_encoded_as_each_of_them(rows: list[dict[str, Any]]) -> None:
    for encoder in (ONE, TWO):
        assert encoder.of_rows(rows) == [encoder.of_row(row) for row in rows]


@pytest.mark.parametrize("wrong", ["\ud800", 1, True, b"x"])
def test_a_wrong_key_among_many_is_told_by_its_field(wrong: Any) -> None:
    with pytest.raises(InvalidKey, match="'user'"):
        ONE.of_rows([{"user": "fine"}, {"user": wrong}])


def test_an_absent_key_among_many_is_an_error() -> None:
    with pytest.raises(KeyError, match="user"):
        ONE.of_rows([{"user": "fine"}, {"shop": 1}])
