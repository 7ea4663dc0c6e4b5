"""However records arrive, each is admitted once, and what is missing is known."""

from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.domain.sequence import HOLES_MAX, Progress, admit, admit_all


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


@given(st.lists(st.lists(st.integers(1, 40), max_size=9) | st.integers(0, 30).map(
    lambda first: list(range(first + 1, first + 9))), max_size=12))  # fmt: skip
def test_many_numbers_at_once_are_admitted_as_one_by_one(batches: list[list[int]]) -> None:
    at_once = one_by_one = Progress()
    for numbers in batches:
        at_once, new = admit_all(at_once, numbers)
        for number, said_new in zip(numbers, new, strict=True):
            one_by_one, is_new = admit(one_by_one, number)
            assert said_new == is_new
        assert at_once == one_by_one


def test_holes_are_bounded() -> None:
    progress = Progress()
    for number in range(2, 4 * HOLES_MAX, 2):
        progress, _ = admit(progress, number)
    assert len(progress.holes) == HOLES_MAX
    assert admit(progress, 1)[1] is False
