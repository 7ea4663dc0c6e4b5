"""However records arrive, each is admitted once, and what is missing is known."""

from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.domain.sequence import HOLES_MAX, Progress, admit


@given(st.lists(st.integers(1, 60), max_size=120))
@settings(max_examples=100)
def test_a_number_is_new_exactly_the_first_time(numbers: list[int]) -> None:
    progress, seen = Progress(), set[int]()
    for number in numbers:
        progress, new = admit(progress, number)
        assert new == (number not in seen)
        seen.add(number)
        assert progress.high == max(seen)
        assert progress.missing == progress.high - len(seen)


def test_holes_are_bounded() -> None:
    progress = Progress()
    for number in range(2, 4 * HOLES_MAX, 2):
        progress, _ = admit(progress, number)
    assert len(progress.holes) == HOLES_MAX
    assert admit(progress, 1)[1] is False
