"""Lines that a caller can ask for are counted."""

from kit.logs import LineBudget


def test_a_second_has_so_many_lines_and_the_next_as_many_again() -> None:
    now_ns = 0
    budget = LineBudget(3, lambda: now_ns)
    for second in (0, 1, 5):
        now_ns = second * 10**9
        assert [budget.take() for _ in range(6)] == [True] * 3 + [False] * 3
