"""The audit log: append-only and hash-chained, so that any later change of it can be shown.

digest(n) = sha256(digest(n − 1) ‖ canonical JSON of entry n without its digest), digest(0) = 64
zeros. A changed, removed, inserted or reordered entry breaks the chain at that place; a cut tail
shows against a head that was kept elsewhere.
"""

from collections.abc import Iterable, Iterator
from hashlib import sha256
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

GENESIS = "0" * 64


class Act(BaseModel):
    """What somebody did, or tried to do: the part of an entry that its author states."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    actor: str
    """A principal, or ``controller`` for the platform acting by a plan."""
    action: str
    """Dotted, from a closed set: ``version.published``, ``rollout.step`` and so on."""
    model: str = ""
    subject: str = ""
    """What it was done to: ``delay/2``, a rollout's id."""
    reason: str = ""
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None
    evidence: dict[str, Any] | None = None


class Entry(Act):
    """An act in its place in the chain."""

    seq: int
    at_us: int
    """Business time: the clock by which windows and bake times run."""
    wall_us: int
    """Real time; differs from business time only in a simulation."""
    previous: str
    digest: str


class BrokenChain(ValueError):
    """The log is not what was written; ``seq`` is the first place where that shows."""

    def __init__(self, seq: int, what: str) -> None:
        super().__init__(f"entry {seq}: {what}")
        self.seq = seq


def entry_of(text: str | bytes, seq: int) -> Entry:
    """The entry that was written as this JSON, as the ``seq``-th.

    Raises ``BrokenChain``: what cannot be read is not what was written.
    """
    try:
        return Entry.model_validate_json(text)
    except ValidationError:
        raise BrokenChain(seq, "cannot be read") from None


def chain(act: Act, seq: int, at_us: int, wall_us: int, previous: str) -> Entry:
    """The entry that follows the one whose digest is ``previous``."""
    body = {**act.model_dump(), "seq": seq, "at_us": at_us, "wall_us": wall_us}
    # What is hashed is what a reader will parse from the store: plain JSON values.
    plain = orjson.loads(_canonical(body))
    return Entry(**plain, previous=previous, digest=_digest(plain, previous))


def _canonical(body: dict[str, Any]) -> bytes:
    return orjson.dumps(body, option=orjson.OPT_SORT_KEYS)


def _digest(body: dict[str, Any], previous: str) -> str:
    return sha256(previous.encode() + _canonical(body)).hexdigest()


def verified(entries: Iterable[Entry], previous: str = GENESIS, seq: int = 0) -> Iterator[Entry]:
    """Yield the entries in order while the chain holds. Raises ``BrokenChain``.

    ``previous`` and ``seq`` are those of the entry before the first one given.
    """
    for entry in entries:
        if entry.seq != seq + 1:
            raise BrokenChain(seq + 1, f"expected here, found {entry.seq}")
        if entry.previous != previous:
            raise BrokenChain(entry.seq, "does not follow the entry before it")
        body = entry.model_dump(exclude={"previous", "digest"})
        if _digest(body, previous) != entry.digest:
            raise BrokenChain(entry.seq, "was changed after it was written")
        previous, seq = entry.digest, entry.seq
        yield entry


def check_chain(entries: Iterable[Entry], head: tuple[int, str] | None = None) -> int:
    """The number of entries of a whole log. ``head`` is the (seq, digest) kept elsewhere.

    Raises ``BrokenChain``.
    """
    seq, digest = 0, GENESIS
    for entry in verified(entries):
        seq, digest = entry.seq, entry.digest
    if head is not None and head != (seq, digest):
        raise BrokenChain(seq + 1, f"the log ends here, but its head is {head[0]}")
    return seq
