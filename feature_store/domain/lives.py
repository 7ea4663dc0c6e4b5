"""Which rows this log still has, told from the lives it has led: one for each time it was opened.

A log that is restored from a copy goes on from an older position, and gives the positions behind it
out a second time. Who remembers a position with the life in which it was given learns from the
lives whether the row there is still the same one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

NO_LIFE = -1
"""Of a store that is being emptied."""
LIVES_MAX = 100
"""A position of an earlier life is taken for lost: what stands on it is made anew."""


@dataclass(frozen=True, slots=True)
class Life:
    """From one opening of the log to the next; its rows begin at ``first_seq``."""

    id: int
    first_seq: int


def holds(lives: Sequence[Life], life_id: int, seq: int, last_seq: int) -> bool:
    """Whether the log up to ``seq`` is what it was when that life had come so far."""
    for life, successor in zip(lives, [*lives[1:], None], strict=True):
        if life.id == life_id:
            return seq <= (last_seq if successor is None else successor.first_seq - 1)
    return False


def read_lives(text: str) -> list[Life]:
    """The inverse of ``write_lives``."""
    pairs = (line.split() for line in text.splitlines())
    return [Life(int(life_id), int(first_seq)) for life_id, first_seq in pairs]


def write_lives(lives: Sequence[Life]) -> str:
    """A line a life, the latest last; the oldest are let go."""
    return "".join(f"{life.id} {life.first_seq}\n" for life in lives[-LIVES_MAX:])
