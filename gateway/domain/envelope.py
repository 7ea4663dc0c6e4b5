"""The envelope of a prediction request: who is asked, and how much."""

import re
from typing import NamedTuple

from contracts import envelope
from contracts.envelope import ROWS_MAX

READ_BYTES_MAX = 4096
"""Of a longer body the gateway only glances at the head; the replica, which parses it anyway, then
reads it as strictly. 100 rows cost the gateway 10 µs so, read they cost 95."""
_MODEL_FIRST = re.compile(rb'\s*\{\s*"model"\s*:\s*"([a-z][a-z0-9_]{0,62})"')
_MODEL_LAST = re.compile(rb'"model"\s*:\s*"([a-z][a-z0-9_]{0,62})"\s*\}\s*\Z')
_MODEL_LAST_BYTES = 128


class Envelope(NamedTuple):
    """A question: ``rows`` instances for ``model``."""

    model: str
    rows: int
    """Exactly, or at most where ``read`` is False."""
    body: bytes
    """The JSON document as it came; where it was read, it has one reading only."""
    read: bool = True
    """Whether the question is known to be well-formed."""


def read_envelope(body: bytes) -> Envelope:
    """Read the JSON of ``POST /predict``. Raises ``BadEnvelope``."""
    model, instances = envelope.read_envelope(body)
    return Envelope(model, len(instances), body)


def open_envelope(body: bytes) -> Envelope:
    """``read_envelope``, or of a long body what a glance tells. Raises ``BadEnvelope``."""
    if len(body) > READ_BYTES_MAX:
        seen = envelope.glance_at(body)
        if seen is not None and seen[1] <= ROWS_MAX:
            return Envelope(seen[0], seen[1], body, read=False)
    return read_envelope(body)


def model_in(body: bytes) -> str:
    """The model that an unread body asks for, where it stands first or last; else empty.

    A guess: only ``read_envelope`` knows.
    """
    found = _MODEL_FIRST.match(body) or _MODEL_LAST.search(body, len(body) - _MODEL_LAST_BYTES)
    return found[1].decode() if found else ""
