"""What the head of an Open Inference Protocol (V2) call says."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

PASSED_ON = ("content-type", "inference-header-content-length", "accept", "accept-encoding")
_MODEL = re.compile(r"/v2/models/([^/]+)(?:/.*)?")


@dataclass(frozen=True, slots=True)
class InferHead:
    """Calls of one connection with the same head share it: nothing here is of one call only."""

    method: str
    path: str
    """Decoded."""
    target: str
    """The method, a space, and the path and query as they came."""
    scope: str
    """What the access table asks for; empty is open."""
    model: str | None
    lines: bytes
    """The headers that the replica has to know, as ``name: value`` lines."""
    encoding: str
    """Of the body; empty: none."""
    json_bytes: int | None
    """How long the JSON part is, where the caller says so in digits; tensors follow it."""


def infer_head(
    method: str, path: str, target: str, headers: Mapping[str, str], scope: str
) -> InferHead:
    """From the request's line and its headers (names in lower case)."""
    named = _MODEL.fullmatch(path)
    length = headers.get("inference-header-content-length", "")
    digits = length.isascii() and length.isdigit() and len(length) <= 10
    return InferHead(
        method=method,
        path=path,
        target=f"{method} {target}",
        scope=scope,
        model=named[1] if named else None,
        lines="".join(f"{name}: {headers[name]}\n" for name in PASSED_ON if name in headers).encode(
            "latin-1"
        ),
        encoding=headers.get("content-encoding", ""),
        json_bytes=int(length) if digits else None,
    )
