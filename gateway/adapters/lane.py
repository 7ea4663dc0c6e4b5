"""What the edge's fast lane takes, and what stands in for uvicorn's request there."""

import asyncio
import re

from gateway.domain.access import ANY_PREDICT
from gateway.domain.open_inference import InferHead, infer_head

_NAME = rb"[A-Za-z0-9_~-][A-Za-z0-9_.~-]*"
_PLAIN_INFER = re.compile(rb"/v2/models/%b(?:/versions/%b)?/infer" % (_NAME, _NAME))
SPECIAL = frozenset(
    {b"transfer-encoding", b"expect", b"content-encoding", b"idempotency-key", b"upgrade"}
)
"""Headers of calls that go the ordinary way."""


def is_predict(url: bytes) -> bool:
    """Whether a request's target is ``/predict``, with or without a query."""
    return url == b"/predict" or url.startswith(b"/predict?")


def is_plain_infer(url: bytes) -> bool:
    """Whether a request's target is an ``infer`` call that nobody can read in two ways: without
    escapes, dots alone, or a query."""
    return _PLAIN_INFER.fullmatch(url) is not None


def infer_head_of(url: bytes, fields: dict[bytes, bytes]) -> InferHead:
    """Of a plain ``infer`` call, from its target and its headers."""
    texts = {name.decode("latin-1"): value.decode("latin-1") for name, value in fields.items()}
    target = url.decode()
    return infer_head("POST", target, target, texts, ANY_PREDICT)


class LaneCycle:
    """Stands where uvicorn expects the request in progress."""

    def __init__(self) -> None:
        self.response_complete = True
        self.disconnected = False
        self.keep_alive = True
        self.message_event = asyncio.Event()
