"""Days that are not like the training's: begun in the middle, or known beforehand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.profile import HourRate
from monitor.domain.season import began_or_ended, covered, hour_of_week, is_known, read_days
from monitor.domain.when import Window

MONDAY = 385_224 - 385_224 % 168 + 96
DAY = Window(MONDAY, MONDAY + 24)
BUSY_MORNINGS = [HourRate(hour_of_week=h, rows=30 if h % 24 < 12 else 10) for h in range(168)]


def test_hours_of_the_week_are_counted_from_monday() -> None:
    assert hour_of_week(MONDAY) == 0
    assert hour_of_week(MONDAY - 1) == 167


def test_a_day_that_began_at_noon_holds_the_share_that_afternoons_have() -> None:
    assert covered(BUSY_MORNINGS, range(MONDAY + 12, MONDAY + 24), DAY) == pytest.approx(0.25)


@given(st.sets(st.integers(MONDAY, MONDAY + 23)))
def test_served_hours_and_the_others_hold_the_whole_day(served: set[int]) -> None:
    rest = set(range(MONDAY, MONDAY + 24)) - served
    both = covered(BUSY_MORNINGS, served, DAY) + covered(BUSY_MORNINGS, rest, DAY)
    assert both == pytest.approx(1.0)


def test_without_times_in_training_every_day_is_whole() -> None:
    assert covered((), set(), DAY) == 1.0


def test_only_a_part_of_a_day_that_is_unlike_the_day_before_is_left_out() -> None:
    assert began_or_ended(0.25, 0.0)
    assert began_or_ended(0.25, 1.0)
    assert not began_or_ended(0.25, 0.3)
    assert not began_or_ended(0.95, 0.0)


def test_known_days_are_dates_or_spans_with_both_ends() -> None:
    days = read_days(["1970-01-03", " 1970-01-05/1970-01-07"])
    assert days == {2, 4, 5, 6}
    assert is_known(days, Window(4 * 24, 5 * 24))
    assert not is_known(days, Window(3 * 24, 4 * 24))


@pytest.mark.parametrize("text", ["", "yesterday", "2013-12-02/2013-12-01", "2013-12-02/x"])
def test_a_known_day_that_is_none_is_refused_by_its_text(text: str) -> None:
    with pytest.raises(ValueError, match="known day"):
        read_days([text])
