"""Whether a position that was remembered still means the same row."""

import pytest

from feature_store.domain.lives import LIVES_MAX, NO_LIFE, Life, holds, read_lives, write_lives

LIVES = [Life(7, 1), Life(8, 101), Life(9, 101)]
"""The first took 100 rows, the second none, the third as many as there are."""


@pytest.mark.parametrize(
    ("life", "seq", "held"),
    [
        (7, 0, True),
        (7, 100, True),
        (7, 101, False),  # it went on after the copy was taken
        (8, 100, True),
        (8, 101, False),
        (9, 150, True),
        (9, 151, False),
        (6, 1, False),  # of a later copy, or let go
        (NO_LIFE, 0, False),
    ],
)
def test_a_life_holds_until_the_next_one_began(life: int, seq: int, held: bool) -> None:
    assert holds(LIVES, life, seq, last_seq=150) is held


def test_the_latest_lives_are_remembered() -> None:
    many = [Life(number, number) for number in range(1, LIVES_MAX + 3)]
    assert read_lives(write_lives(LIVES)) == LIVES
    assert read_lives(write_lives(many)) == many[2:]
