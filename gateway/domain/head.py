"""What is wrong with the head of a request: everything that two readers could read in two ways.

RFC 9112 leaves some of it to the recipient; here it is refused, so that no proxy before this
gateway can be made to see other requests than it does.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from contracts.problems import ProblemCode

Fault = tuple[ProblemCode, str]
_ONCE = (
    b"host", b"content-length", b"transfer-encoding", b"content-type", b"content-encoding",
    b"authorization", b"x-api-key", b"x-request-timeout-ms", b"inference-header-content-length",
    b"idempotency-key",
)  # fmt: skip
_HOST = re.compile(rb"[A-Za-z0-9._~%\[\]:-]{1,255}")
_LENGTH = re.compile(rb"[0-9]{1,18}")
_ESCAPED = re.compile(rb"%(2f|5c|00)", re.IGNORECASE)
_BROKEN_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")


@dataclass(frozen=True, slots=True)
class HeadLimits:
    """Bytes of the request target, of one header, of all headers; and how many headers."""

    line_bytes_max: int = 8 * 1024
    header_bytes_max: int = 8 * 1024
    headers_bytes_max: int = 32 * 1024
    headers_max: int = 100


def fault_in_head(
    version: str, target: bytes, headers: Sequence[tuple[bytes, bytes]], limits: HeadLimits
) -> Fault | None:
    """The first fault of a parsed head (names in lower case), or None."""
    return (
        _size_fault(target, headers, limits)
        or _framing_fault(version, headers)
        or fault_in_target(target)
    )


def _size_fault(
    target: bytes, headers: Sequence[tuple[bytes, bytes]], limits: HeadLimits
) -> Fault | None:
    if len(target) > limits.line_bytes_max:
        return ProblemCode.URI_TOO_LONG, f"At most {limits.line_bytes_max} bytes."
    sizes = [len(name) + len(value) for name, value in headers]
    if len(sizes) > limits.headers_max:
        return ProblemCode.HEADERS_TOO_LARGE, f"At most {limits.headers_max} headers."
    if max(sizes, default=0) > limits.header_bytes_max or sum(sizes) > limits.headers_bytes_max:
        detail = f"At most {limits.header_bytes_max} bytes each, {limits.headers_bytes_max} in all."
        return ProblemCode.HEADERS_TOO_LARGE, detail
    return None


def _framing_fault(version: str, headers: Sequence[tuple[bytes, bytes]]) -> Fault | None:
    if version not in ("1.1", "1.0"):
        return _malformed("HTTP/1.1 is spoken here.")
    names = [name for name, _ in headers]
    if any(names.count(name) > 1 for name in _ONCE):
        return _malformed("A header that may stand only once stands twice.")
    fields = dict(headers)
    if _HOST.fullmatch(fields.get(b"host", b"")) is None:
        return _malformed("There has to be one Host.")
    if b"upgrade" in fields:
        return _malformed("There is nothing to upgrade to.")
    if _LENGTH.fullmatch(fields.get(b"content-length", b"0")) is None:
        return _malformed("Content-Length is a number.")
    coding = fields.get(b"transfer-encoding")
    if coding is None:
        return None
    if b"content-length" in fields or version != "1.1" or coding != b"chunked":
        return _malformed("Transfer-Encoding is exactly chunked, without Content-Length.")
    return None


def fault_in_target(target: bytes) -> Fault | None:
    """What is wrong with the path and query."""
    path, _, _ = target.partition(b"?")
    if not target.startswith(b"/") or not target.isascii() or b"\\" in target or b"#" in target:
        return _malformed("The target is a path from the root.")
    if b"%" not in path and b"/." not in path and b"//" not in path:
        return None
    if _ESCAPED.search(path) or _BROKEN_ESCAPE.search(path) or b"//" in path:
        return _malformed("The path hides a separator, or has an empty or a broken part.")
    decoded = unquote_to_bytes(path)
    if any(part in (b".", b"..") for part in decoded.split(b"/")):
        return _malformed("The path has relative parts.")
    try:
        text = decoded.decode()
    except UnicodeDecodeError:
        return _malformed("The path is not UTF-8.")
    return None if text.isprintable() else _malformed("The path has control characters.")


def _malformed(detail: str) -> Fault:
    return ProblemCode.MALFORMED_HTTP, detail
