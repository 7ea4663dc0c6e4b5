"""The frame protocol between gateway and inference: many requests share one connection.

A frame is ``length | kind | id | payload``, little-endian: ``length`` (u32) counts the bytes after
itself, ``kind`` (u8) is a ``FrameKind``, ``id`` (u64) is chosen by the asking side and repeated in
the answer. Answers come in any order. Writers put everything of one event-loop turn into one
write; readers hand on everything one read brought as one batch.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

FRAME_BYTES_MAX = 16 * 1024 * 1024
"""A longer frame is a broken peer: the connection is closed."""

_HEAD = struct.Struct("<IBQ")
_ASK = struct.Struct("<IB16sHHHH")
_ANSWER = struct.Struct("<HBH")


class FrameKind(IntEnum):
    """What a frame carries."""

    PREDICT = 1
    """An ``Ask`` whose body is the JSON of ``POST /predict``."""
    INFER = 2
    """An ``Ask`` whose target is the path of an Open Inference Protocol call."""
    ANSWER = 3
    CANCEL = 4
    """The caller has left; the answer is not wanted. No payload."""
    GOAWAY = 5
    """The replica drains: no new asks on this connection, answers still come. No payload."""


class FrameError(ValueError):
    """The peer does not speak this protocol; the connection cannot go on."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One request. ``remaining_ms`` is what was left of its deadline when it was sent."""

    remaining_ms: int
    request_id: bytes
    """16 bytes; shown to people as 32 hexadecimal digits."""
    target: str
    """PREDICT: the model's name. INFER: the method, a space and the path with its query."""
    principal: str
    traceparent: str
    headers: bytes
    """INFER: lines ``name: value`` of the headers that matter there. PREDICT: the client's own
    request id, or empty."""
    body: bytes
    explain: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to one ask: a status, headers beyond the content type, and the whole body."""

    status: int
    body: bytes
    retryable: bool = False
    """Nothing was computed or recorded: another replica may be asked."""
    headers: bytes = b""
    """Lines ``name: value``; empty means content-type application/json alone."""


def pack_ask(kind: FrameKind, frame_id: int, ask: Ask) -> bytes:
    """The bytes of a PREDICT or INFER frame."""
    target, principal = ask.target.encode(), ask.principal.encode()
    traceparent = ask.traceparent.encode()
    head = _ASK.pack(
        ask.remaining_ms,
        1 if ask.explain else 0,
        ask.request_id,
        len(target),
        len(principal),
        len(traceparent),
        len(ask.headers),
    )
    payload = b"".join((head, target, principal, traceparent, ask.headers, ask.body))
    return _HEAD.pack(9 + len(payload), kind, frame_id) + payload


def unpack_ask(payload: bytes) -> Ask:
    """The inverse of ``pack_ask`` for the payload. Raises ``FrameError``."""
    try:
        remaining_ms, flags, request_id, *lengths = _ASK.unpack_from(payload)
        parts, at = [], _ASK.size
        for length in lengths:
            parts.append(payload[at : at + length])
            at += length
        if at > len(payload):
            raise FrameError("an ask is shorter than its lengths say")
        target, principal, traceparent, headers = parts
        return Ask(
            remaining_ms=remaining_ms,
            request_id=request_id,
            target=target.decode(),
            principal=principal.decode(),
            traceparent=traceparent.decode(),
            headers=headers,
            body=payload[at:],
            explain=bool(flags & 1),
        )
    except (struct.error, UnicodeDecodeError) as broken:
        raise FrameError(str(broken)) from broken


def pack_answer(frame_id: int, answer: Answer) -> bytes:
    """The bytes of an ANSWER frame."""
    head = _ANSWER.pack(answer.status, 1 if answer.retryable else 0, len(answer.headers))
    length = 9 + len(head) + len(answer.headers) + len(answer.body)
    return b"".join(
        (_HEAD.pack(length, FrameKind.ANSWER, frame_id), head, answer.headers, answer.body)
    )


def unpack_answer(payload: bytes) -> Answer:
    """The inverse of ``pack_answer`` for the payload. Raises ``FrameError``."""
    try:
        status, flags, headers_length = _ANSWER.unpack_from(payload)
    except struct.error as broken:
        raise FrameError(str(broken)) from broken
    at = _ANSWER.size + headers_length
    if at > len(payload):
        raise FrameError("an answer is shorter than its lengths say")
    return Answer(status, payload[at:], bool(flags & 1), payload[_ANSWER.size : at])


def pack_signal(kind: FrameKind, frame_id: int = 0) -> bytes:
    """The bytes of a frame without payload."""
    return _HEAD.pack(9, kind, frame_id)


class FrameReader:
    """Cuts a byte stream into frames; keeps what is not whole yet."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, data: bytes) -> Iterator[tuple[int, int, bytes]]:
        """Yield (kind, id, payload) of each whole frame. Raises ``FrameError``."""
        buffer = self._buffer + data if self._buffer else data
        at, end = 0, len(buffer)
        while end - at >= _HEAD.size:
            length, kind, frame_id = _HEAD.unpack_from(buffer, at)
            if not 9 <= length <= FRAME_BYTES_MAX:
                raise FrameError(f"a frame of {length} bytes")
            if end - at < 4 + length:
                break
            yield kind, frame_id, buffer[at + _HEAD.size : at + 4 + length]
            at += 4 + length
        self._buffer = buffer[at:]
