"""Every window once, in order, from the first row on."""

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.domain.rows import HOUR_US
from monitor.domain.when import HOURS, Job, Window, ended

MONDAY = 1_385_942_400_000_000 // HOUR_US


@given(
    st.sampled_from(["hour", "day", "week"]),
    st.integers(0, 400),
    st.lists(st.integers(0, 300), max_size=12),
)
@settings(max_examples=100)
def test_windows_follow_each_other_whatever_the_steps_of_the_clock(
    job: Job, first: int, steps: list[int]
) -> None:
    now, done = MONDAY + first, None
    seen: list[Window] = []
    for step in steps:
        now += step
        found = ended(job, done, MONDAY + first, now * HOUR_US)
        done = found[-1].until_hour if found else done
        seen += found
    assert all(window.hours == HOURS[job] for window in seen)
    for before, after in pairwise(seen):
        assert after.from_hour == before.until_hour
    if seen:
        assert seen[0].from_hour <= MONDAY + first < seen[0].until_hour
        assert seen[-1].until_hour <= now < seen[-1].until_hour + HOURS[job]


def test_weeks_begin_on_mondays() -> None:
    (week,) = ended("week", None, MONDAY + 30, (MONDAY + 170) * HOUR_US)
    assert (week.from_hour, week.until_hour) == (MONDAY, MONDAY + 168)
    assert week.text == "2013-12-02T00:00Z to 2013-12-09T00:00Z"
    assert Window(MONDAY, MONDAY + 24).text == "2013-12-02"
