"""The head that a connection sent before: the same bytes mean the same, and need no parser again.

A client repeats its head from one call to the next, but for the digits of Content-Length.
What was parsed and found sound once is from then on only compared. Anything else, were it a single
byte, goes to the parser.
"""

import re
from typing import NamedTuple, Self

from gateway.domain.exchange import Preamble
from gateway.domain.open_inference import InferHead

HEAD_BYTES_MAX = 2048
"""What is kept for one connection."""
_LENGTH = re.compile(rb"\r\ncontent-length: ?([0-9]{1,7})\r\n", re.IGNORECASE)


class KnownHead(NamedTuple):
    """A sound head of a plain call of the fast lane, in two parts around its length."""

    before: bytes
    """Up to the first digit of Content-Length."""
    after: bytes
    """From behind the last to the empty line."""
    preamble: Preamble
    infer: InferHead | None
    """None: ``POST /predict``."""

    @classmethod
    def of(
        cls, message: bytes, body: bytes, preamble: Preamble, infer: InferHead | None = None
    ) -> Self | None:
        """The head of ``message``, which was parsed as nothing but a head and ``body``.

        None for what is none, or has a head that is not to be kept.
        """
        size = len(message) - len(body)
        length = _LENGTH.search(message, 0, max(0, size))
        if size > HEAD_BYTES_MAX or length is None or message.find(b"\r\n\r\n") != size - 4:
            return None
        return cls(message[: length.start(1)], message[length.end(1) : size], preamble, infer)

    def body_in(self, message: bytes) -> bytes | None:
        """The body of a message with this head, if it is there whole and nothing else is."""
        before, after = self.before, self.after
        at = len(before)
        end = message.find(b"\r", at, at + 8)
        if end < 0 or not message.startswith(before) or not message.startswith(after, end):
            return None
        length, body = message[at:end], message[end + len(after) :]
        return body if length.isdigit() and int(length) == len(body) else None
