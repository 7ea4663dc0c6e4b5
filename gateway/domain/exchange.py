"""One exchange with a caller: what was asked, what is answered; no protocol in it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

Headers = tuple[tuple[bytes, bytes], ...]
JSON_HEADERS: Headers = ((b"content-type", b"application/json"),)
_EXPLAIN = {b"explain_features=true": True, b"explain_features=false": False}
_TRACEPARENT = re.compile(rb"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


@dataclass(slots=True, eq=False)
class Preamble:
    """What the head of a request says, as far as the hot path cares."""

    authorization: bytes | None = None
    api_key: bytes | None = None
    timeout_ms: bytes | None = None
    client_request_id: bytes | None = None
    traceparent: bytes | None = None
    explain: bool | None = False
    """Whether with its features; None: the query asks for something that there is not."""
    credential: bytes | None = None
    """Of the headers above, and its mark, once they were looked at (``gateway.admit``)."""
    mark: bytes | None = None
    principal: str = ""
    """Who that was found to be."""

    @property
    def lasting(self) -> bool:
        """Whether the next request may well have the same; an id is of one request only."""
        return self.client_request_id is None and self.traceparent is None


def preamble_of(fields: Mapping[bytes, bytes], query: bytes) -> Preamble:
    """From headers (names in lower case) and the query."""
    get = fields.get
    return Preamble(
        get(b"authorization"),
        get(b"x-api-key"),
        get(b"x-request-timeout-ms"),
        get(b"x-request-id"),
        get(b"traceparent"),
        explains(query),
    )


@dataclass(slots=True, eq=False)
class Question:
    """What a caller sent. Requests with the same head may share one preamble."""

    request_id: str
    """32 hexadecimal digits, made here."""
    preamble: Preamble
    body: bytes = b""


@dataclass(slots=True)
class Reply:
    """A whole answer."""

    status: int
    body: bytes
    headers: Headers


def trace_of(given: bytes | None, request_id: str) -> str:
    """The ``traceparent`` (W3C Trace Context 1) of a request: the caller's trace, our span.

    The span is the second half of the request's id. Empty where no trace was given: one that
    begins here has the request's id, and nothing has to be carried for it.
    """
    if given is None or not _TRACEPARENT.fullmatch(given):
        return ""
    return f"{given[:36].decode()}{request_id[16:]}{given[52:].decode()}"


@lru_cache(maxsize=1024)  # few differ: the length of a tensor's JSON part, mostly
def parse_lines(lines: bytes) -> Headers:
    """``name: value`` lines as pairs; none means JSON."""
    if not lines:
        return JSON_HEADERS
    pairs = (line.partition(b":") for line in lines.splitlines() if line)
    return tuple((name.strip().lower(), value.strip()) for name, _, value in pairs)


def explains(query: bytes) -> bool | None:
    """What ``?explain_features=`` says, false without it; None where the query says anything
    else: nobody shall believe to have asked for what there is not."""
    said = {_EXPLAIN.get(part) for part in query.split(b"&") if part}
    return None if len(said) > 1 else next(iter(said), False)
