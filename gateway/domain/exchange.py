"""One exchange with a caller: what was asked, what is answered; no protocol in it."""

import re
from dataclasses import dataclass

Headers = tuple[tuple[bytes, bytes], ...]
JSON_HEADERS: Headers = ((b"content-type", b"application/json"),)
_TRACEPARENT = re.compile(rb"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


@dataclass(slots=True)
class Question:
    """What a caller sent, as far as the hot path cares."""

    request_id: str
    """32 hexadecimal digits, made here."""
    authorization: bytes | None
    api_key: bytes | None
    timeout_ms: bytes | None
    client_request_id: bytes | None
    traceparent: bytes | None
    body: bytes
    explain: bool = False


@dataclass(slots=True)
class Reply:
    """A whole answer."""

    status: int
    body: bytes
    headers: Headers


def trace_of(given: bytes | None, request_id: str) -> str:
    """The caller's ``traceparent`` (W3C Trace Context 1), or one that begins with this request."""
    if given is not None and _TRACEPARENT.fullmatch(given):
        return given.decode()
    return f"00-{request_id}-{request_id[16:]}-00"


def parse_lines(lines: bytes) -> Headers:
    """``name: value`` lines as pairs; none means JSON."""
    if not lines:
        return JSON_HEADERS
    pairs = (line.partition(b":") for line in lines.splitlines() if line)
    return tuple((name.strip().lower(), value.strip()) for name, _, value in pairs)


def explains(query: bytes) -> bool:
    """Whether ``?explain_features=true`` was asked for."""
    return bool(query) and b"explain_features=true" in query.split(b"&")
