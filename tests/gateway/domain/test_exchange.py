import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.frames import is_sampled
from gateway.domain.exchange import JSON_HEADERS, explains, parse_lines, trace_of

REQUEST_ID = "0af7651916cd43dd8448eb211c80319c"
GIVEN = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def test_a_callers_trace_goes_on_with_the_span_of_the_request() -> None:
    ours = "00-4bf92f3577b34da6a3ce929d0e0e4736-8448eb211c80319c-01"
    assert trace_of(GIVEN, REQUEST_ID) == ours
    assert is_sampled(ours)
    assert not is_sampled(trace_of(GIVEN[:-1] + b"0", REQUEST_ID))


def test_what_is_no_trace_is_none() -> None:
    for broken in (None, b"", GIVEN[:-1], GIVEN.upper(), GIVEN.replace(b"4bf", b"xyz"), b"\xff"):
        assert trace_of(broken, REQUEST_ID) == ""
    assert trace_of(b"00-" + b"0" * 32 + GIVEN[35:], REQUEST_ID) == ""
    assert not is_sampled("")


def test_header_lines_are_pairs_and_none_means_json() -> None:
    assert parse_lines(b"") is JSON_HEADERS
    lines = b"Content-Type: text/plain; a:b\ninference-header-content-length: 5\n"
    assert parse_lines(lines) == (
        (b"content-type", b"text/plain; a:b"),
        (b"inference-header-content-length", b"5"),
    )


@pytest.mark.parametrize(
    ("query", "found"),
    [
        (b"", False),
        (b"&", False),
        (b"explain_features=true", True),
        (b"explain_features=true&explain_features=true&", True),
        (b"explain_features=false", False),
        (b"explain_features=true&explain_features=false", None),
        (b"explain_features=1", None),
        (b"explain_features", None),
        (b"explain=true", None),
        (b"explain_features=true&version=2", None),
    ],
)
def test_a_query_says_whether_to_explain_and_nothing_else(query: bytes, found: bool | None) -> None:
    assert explains(query) is found


@given(st.binary(max_size=60))
def test_any_query_is_read(query: bytes) -> None:
    parts = {part for part in query.split(b"&") if part}
    assert explains(query + b"&explain_features=true") is (
        True if parts <= {b"explain_features=true"} else None
    )
