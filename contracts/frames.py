"""The frame protocol between gateway and inference: many requests share one connection.

A frame is ``length | kind | id | payload``, little-endian: ``length`` (u32) counts the bytes after
itself, ``kind`` (u8) is a ``FrameKind``, ``id`` (u64) is chosen by the asking side and repeated in
the answer. Answers come in any order. Writers put everything of one event-loop turn into one
write; readers hand on everything one read brought as one batch.
"""

import struct
from collections.abc import Iterator
from enum import IntEnum
from typing import NamedTuple

PROTOCOL = 1
"""Both sides of a connection have to speak the same; any change of a layout here makes another."""
HELLO_BYTES_MAX = 1024
FRAME_BYTES_MAX = 16 * 1024 * 1024
"""A longer frame is a broken peer: the connection is closed."""
ANSWER_BYTES_MAX = FRAME_BYTES_MAX - 128 * 1024
"""Of an answer's body: whoever asks for more is told so, and his neighbours keep the connection."""

_HEAD = struct.Struct("<IBQ")
_ASK = struct.Struct("<IIB16sHHHH")
_ASK_FRAME = struct.Struct("<IBQIIB16sHHHH")
"""``_HEAD`` and ``_ASK``, packed at once."""
_REMAINING = struct.Struct("<I")
"""How ``_ASK`` begins."""
_ANSWER = struct.Struct("<HBIIH")
_ANSWER_FRAME = struct.Struct("<IBQHBIIH")
_SPENT_US_MAX = 2**32 - 1

_ODD = frozenset("13579bdf")


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
    HELLO = 6
    """How both sides of a TCP connection begin; its id is ``PROTOCOL``. The asking side's holds the
    service token, and asks come once the replica has said its own, which holds nothing."""


class FrameError(ValueError):
    """The peer does not speak this protocol; the connection cannot go on."""


class Ask(NamedTuple):
    """One request. ``remaining_ms`` is what was left of its deadline when it was sent."""

    remaining_ms: int
    request_id: bytes
    """16 bytes; shown to people as 32 hexadecimal digits."""
    target: str
    """PREDICT: the model's name. INFER: the method, a space and the path with its query."""
    principal: str
    traceparent: str
    """W3C Trace Context; empty where the caller brought none: then the trace begins with this
    request and has its id."""
    headers: bytes
    """INFER: lines ``name: value`` of the headers that matter there. PREDICT: the client's own
    request id, or empty."""
    body: bytes
    explain: bool = False
    rows_max: int = 0
    """PREDICT: not 0 where the asking side did not read the body: it is to be read strictly, has no
    more rows than this, and the answer says how many."""


def is_sampled(traceparent: str) -> bool:
    """Whether whoever began this trace records it."""
    return traceparent[-1:] in _ODD


class Answer(NamedTuple):
    """The answer to one ask: a status, headers beyond the content type, and the whole body."""

    status: int
    body: bytes
    retryable: bool = False
    """Nothing was computed or recorded: another replica may be asked."""
    headers: bytes = b""
    """Lines ``name: value``; empty means content-type application/json alone."""
    rows: int = 0
    """How many rows were asked for; 0 where the question could not be read."""
    spent_us: int = 0
    """From when the replica had read the ask: what it waited there and what it took. The way there
    and back is not in it, nor what a busy gateway adds."""


def pack_ask(kind: FrameKind, frame_id: int, ask: Ask) -> bytes:
    """The bytes of a PREDICT or INFER frame."""
    target, principal = ask.target.encode(), ask.principal.encode()
    traceparent = ask.traceparent.encode()
    body, headers = ask.body, ask.headers
    beside = len(target) + len(principal) + len(traceparent) + len(headers) + len(body)
    head = _ASK_FRAME.pack(
        _ASK_FRAME.size - 4 + beside,
        kind,
        frame_id,
        ask.remaining_ms,
        ask.rows_max,
        1 if ask.explain else 0,
        ask.request_id,
        len(target),
        len(principal),
        len(traceparent),
        len(headers),
    )
    return b"".join((head, target, principal, traceparent, headers, body))


def with_remaining(packed: bytes, remaining_ms: int) -> bytes:
    """The bytes of a PREDICT or INFER frame that waited before it was sent."""
    at = _HEAD.size
    return b"".join((packed[:at], _REMAINING.pack(remaining_ms), packed[at + _REMAINING.size :]))


def unpack_ask(payload: bytes) -> Ask:
    """The inverse of ``pack_ask`` for the payload. Raises ``FrameError``."""
    try:
        remaining_ms, rows_max, flags, request_id, target, principal, trace, headers = (
            _ASK.unpack_from(payload)
        )
        principal_at = _ASK.size + target
        trace_at = principal_at + principal
        headers_at = trace_at + trace
        body_at = headers_at + headers
        if body_at > len(payload):
            raise FrameError("an ask is shorter than its lengths say")
        return Ask(
            remaining_ms,
            request_id,
            payload[_ASK.size : principal_at].decode(),
            payload[principal_at:trace_at].decode(),
            payload[trace_at:headers_at].decode(),
            payload[headers_at:body_at],
            payload[body_at:],
            bool(flags & 1),
            rows_max,
        )
    except (struct.error, UnicodeDecodeError) as broken:
        raise FrameError(str(broken)) from broken


def pack_answer(frame_id: int, answer: Answer, spent_us: int = 0) -> bytes:
    """The bytes of an ANSWER frame. Who sends it knows what was spent, not who answers."""
    headers, body = answer.headers, answer.body
    head = _ANSWER_FRAME.pack(
        _ANSWER_FRAME.size - 4 + len(headers) + len(body),
        FrameKind.ANSWER,
        frame_id,
        answer.status,
        1 if answer.retryable else 0,
        answer.rows,
        min(spent_us, _SPENT_US_MAX),
        len(headers),
    )
    return b"".join((head, headers, body))


def unpack_answer(payload: bytes) -> Answer:
    """The inverse of ``pack_answer`` for the payload. Raises ``FrameError``."""
    try:
        status, flags, rows, spent_us, headers_length = _ANSWER.unpack_from(payload)
    except struct.error as broken:
        raise FrameError(str(broken)) from broken
    at = _ANSWER.size + headers_length
    if at > len(payload):
        raise FrameError("an answer is shorter than its lengths say")
    headers = payload[_ANSWER.size : at]
    return Answer(status, payload[at:], bool(flags & 1), headers, rows, spent_us)


def pack_signal(kind: FrameKind, frame_id: int = 0) -> bytes:
    """The bytes of a frame without payload."""
    return _HEAD.pack(9, kind, frame_id)


def pack_hello(service_token: str = "") -> bytes:
    """The bytes of a HELLO frame."""
    token = service_token.encode()
    return _HEAD.pack(9 + len(token), FrameKind.HELLO, PROTOCOL) + token


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
