"""A call of the Open Inference Protocol: how it comes, what refuses it, how its answer leaves."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import orjson

from contracts.frames import Answer
from inference.domain.encodings import ENCODINGS, NotEncoded, TooLong, deflated, inflated
from inference.domain.open_inference import HEADER_LENGTH

BODY_BYTES_MAX = 64 * 1024 * 1024
_MODEL_PATH = re.compile(
    r"^/v2/models/(?P<model>[^/]+)(?:/versions/(?P<version>[^/]+))?"
    r"(?:/(?P<verb>infer|ready|config|stats))?$"
)


class Refused(Exception):
    """The call cannot be answered: a status and a text for the caller."""

    def __init__(
        self, status: int, text: str, *, elsewhere: bool = False, allowed: str = ""
    ) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.elsewhere = elsewhere
        """Another replica may be asked."""
        self.allowed = allowed
        """The methods that the path takes, where it takes others than the call's."""


@dataclass(slots=True, eq=False)
class Call:
    """One HTTP call, from wherever it came. Header names are lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    request_id: bytes
    deadline_ns: int

    def require(self, method: str) -> None:
        """Raise ``Refused`` for another method."""
        if self.method != method:
            allowed = "GET, HEAD" if method == "GET" else method
            raise Refused(405, f"use {method}", allowed=allowed)


class ModelPath(NamedTuple):
    """Below ``/v2/models``."""

    model: str
    version: str | None
    verb: str | None
    """infer, ready, config or stats; None: what the model is."""


def model_path(path: str) -> ModelPath | None:
    """What a path names, where it is one of a model."""
    found = _MODEL_PATH.match(path)
    if found is None or path == "/v2/models/stats":
        return None
    return ModelPath(found["model"], found["version"], found["verb"])


def not_served(model: str, version: str | None) -> Refused:
    """There is no such model, or no such version of it."""
    what = f"model '{model[:100]}'" + (f" version '{version[:100]}'" if version else "")
    return Refused(404, f"{what} is not served")


@lru_cache(maxsize=1024)
def spoken(target: str, lines: bytes) -> tuple[str, str, Mapping[str, str]]:
    """The method, path and headers of an ask; clients repeat them from call to call."""
    method, _, rest = target.partition(" ")
    # Not splitlines: it ends lines at 0x85, too, which stands in a caller's header as it likes.
    pairs = [line.partition(":") for line in lines.decode("latin-1").split("\n") if line]
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    return method, rest.partition("?")[0], headers


def header_length(call: Call) -> int | None:
    """How long the JSON part is, where tensors follow it. Raises ``Refused``."""
    value = call.headers.get(HEADER_LENGTH)
    if value is None:
        return None
    if not value.isascii() or not value.isdigit() or len(value) > 10:
        raise Refused(400, f"{HEADER_LENGTH} must be a number of bytes")
    return int(value)


def decoded(call: Call) -> bytes:
    """The body, decompressed. Raises ``Refused``."""
    encoding = call.headers.get("content-encoding", "identity").lower()
    if encoding in ("identity", ""):
        return call.body
    if encoding not in ENCODINGS:
        raise Refused(415, "content-encoding must be gzip or deflate")
    try:
        return inflated(call.body, BODY_BYTES_MAX)
    except TooLong as wrong:
        raise Refused(413, str(wrong)) from wrong
    except NotEncoded as wrong:
        raise Refused(400, str(wrong)) from wrong


def json_answer(status: int, content: Any, *, retryable: bool = False, allowed: str = "") -> Answer:
    """An answer that is JSON alone."""
    headers = b"content-type: application/json"
    if status == 503:
        headers += b"\nretry-after: 1"
    if allowed:
        headers += b"\nallow: " + allowed.encode()
    return Answer(status, orjson.dumps(content), retryable, headers)


def encoded(call: Call, body: bytes, json_bytes: int | None) -> Answer:
    """With binary data: octets and the header's length. Compressed only for a caller that accepts
    exactly one encoding: that is how the protocol's clients ask for it."""
    headers = "content-type: application/json"
    if json_bytes is not None:
        headers = f"content-type: application/octet-stream\n{HEADER_LENGTH}: {json_bytes}"
    accepted = call.headers.get("accept-encoding", "").strip().lower()
    if accepted in ENCODINGS:
        body = deflated(body, accepted)
        headers += f"\ncontent-encoding: {accepted}"
    return Answer(200, body, False, headers.encode())
