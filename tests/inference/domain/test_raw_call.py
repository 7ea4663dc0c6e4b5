"""What a call says is read as its caller wrote it."""

import pytest

from inference.domain.raw_call import spoken


def test_a_call_is_read_from_its_lines() -> None:
    lines = b"content-type: application/json\naccept: a\n"
    method, path, headers = spoken("POST /v2/models/a/infer?x", lines)
    assert (method, path) == ("POST", "/v2/models/a/infer")
    assert headers == {"content-type": "application/json", "accept": "a"}


@pytest.mark.parametrize("ending", ["\x85", "\x1c", "\x0b", "\x0c", "\r"])
def test_no_character_in_a_header_begins_another(ending: str) -> None:
    """The gateway would count the rows of a compressed body that it was not told of."""
    lines = f"accept: a{ending}content-encoding: gzip\n".encode("latin-1")
    assert list(spoken("GET /v2", lines)[2]) == ["accept"]
