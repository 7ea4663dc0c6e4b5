"""A known head stands for exactly the messages that the parser would read the same."""

import httptools
from hypothesis import given
from hypothesis import strategies as st

from gateway.adapters.known_head import HEAD_BYTES_MAX, KnownHead
from gateway.domain.exchange import Preamble

PREAMBLE = Preamble(api_key=b"ll_key")
NAMES = st.sampled_from([b"Host", b"host", b"X-API-Key", b"Accept", b"A-Content-Length"])
VALUES = st.text("ab1 .,:;-", max_size=12).map(lambda text: text.strip().encode())
HEADERS = st.lists(st.tuples(NAMES, VALUES), max_size=4)


def message(
    body: bytes, headers: list[tuple[bytes, bytes]] | None = None, length: bytes | None = None
) -> bytes:
    given = [(b"Host", b"x"), (b"X-API-Key", b"ll_key")] if headers is None else headers
    lines = [b"%s: %s\r\n" % pair for pair in given]
    lines.insert(len(lines) // 2, b"Content-Length: %s\r\n" % (length or b"%d" % len(body)))
    return b"POST /predict HTTP/1.1\r\n" + b"".join(lines) + b"\r\n" + body


class Read:
    """What httptools makes of some bytes."""

    def __init__(self, data: bytes) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.bodies: list[bytes] = []
        self.body = b""
        httptools.HttpRequestParser(self).feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.bodies.append(self.body)
        self.body = b""


def known(first: bytes, body: bytes) -> KnownHead:
    found = KnownHead.of(first, body, PREAMBLE)
    assert found is not None
    return found


@given(HEADERS, st.binary(max_size=40), st.binary(max_size=2000))
def test_a_message_with_the_same_head_has_the_body_that_the_parser_finds(
    headers: list[tuple[bytes, bytes]], first: bytes, second: bytes
) -> None:
    head = known(message(first, headers), first)
    again = message(second, headers)
    assert head.body_in(again) == second == b"".join(Read(again).bodies)


@given(HEADERS, st.binary(max_size=40), st.data())
def test_one_changed_byte_is_read_by_the_parser_or_changes_the_body_only(
    headers: list[tuple[bytes, bytes]], body: bytes, data: st.DataObject
) -> None:
    first = message(body, headers)
    at = data.draw(st.integers(0, len(first) - 1))
    changed = bytearray(first)
    changed[at] = data.draw(st.integers(0, 255).filter(lambda byte: byte != first[at]))
    found = known(first, body).body_in(bytes(changed))
    if at < len(first) - len(body):
        assert found is None
    else:
        assert found == bytes(changed[len(first) - len(body) :])


@given(st.binary(max_size=40), st.binary(min_size=1, max_size=40))
def test_more_or_less_than_one_message_is_not_taken(body: bytes, more: bytes) -> None:
    head, whole = known(message(body), body), message(body)
    assert head.body_in(whole + more) is None
    assert head.body_in(whole[: -len(more)]) is None
    assert head.body_in(more) is None


def test_a_length_that_is_no_plain_number_is_not_taken() -> None:
    head = known(message(b"{}"), b"{}")
    for length in (b"+2", b"-2", b"2 ", b"2, 2", b"0x2", b" 2", b"\xb2", b"2;a"):
        assert head.body_in(message(b"{}", length=length)) is None, length


def test_what_was_not_a_head_and_a_body_alone_is_not_kept() -> None:
    whole = message(b"{}")
    for seen, body in (
        (b"", b"{}"),
        (whole[1:], b"{}}"),
        (whole + whole, b"{}"),
        (b"tail\r\n\r\n" + whole, b"{}"),
        (whole[:-2], b"{}"),
        (whole.replace(b"Content-Length", b"Content-Size"), b"{}"),
        (message(b"{}", [(b"Long", b"a" * HEAD_BYTES_MAX)]), b"{}"),
    ):
        assert KnownHead.of(seen, body, PREAMBLE) is None, seen
