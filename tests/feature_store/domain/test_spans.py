"""Windows are exact durations; calendar windows follow the zone's clock through its changes."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_store.domain.keys import instant_us
from feature_store.domain.schema import TIME_US_MAX, TIME_US_MIN
from feature_store.domain.spans import (
    CALENDAR_US_MAX,
    CALENDAR_US_MIN,
    CalendarSpan,
    ExactSpan,
    Span,
)

NEW_YORK = ZoneInfo("America/New_York")


def us(year: int, *rest: int, zone: ZoneInfo | None = None) -> int:
    moment = datetime(year, *rest, tzinfo=zone or UTC)  # type: ignore[arg-type, misc]
    return instant_us(moment.astimezone(UTC))


@pytest.mark.parametrize(
    ("at", "begin"),
    [
        (us(2025, 3, 9, 12, zone=NEW_YORK), us(2025, 3, 9, 5)),  # 23 hours long
        (us(2025, 3, 10, 0, zone=NEW_YORK), us(2025, 3, 10, 4)),
        (us(2025, 11, 2, 23, zone=NEW_YORK), us(2025, 11, 2, 4)),  # 25 hours long
        (us(2025, 11, 3, 4, 59), us(2025, 11, 2, 4)),
        (us(2025, 11, 3, 5), us(2025, 11, 3, 5)),
    ],
)
def test_a_day_begins_at_the_zones_midnight(at: int, begin: int) -> None:
    assert CalendarSpan("day", "America/New_York").first_us(at) == begin


def test_weeks_begin_on_monday_and_months_on_the_first() -> None:
    at = us(2025, 3, 30, 12)  # a Sunday
    assert CalendarSpan("week", "UTC").first_us(at) == us(2025, 3, 24)
    assert CalendarSpan("month", "UTC").first_us(at) == us(2025, 3, 1)
    assert CalendarSpan("hour", "Asia/Kolkata").first_us(at) == us(2025, 3, 30, 11, 30)


spans: list[Span] = [
    ExactSpan(1),
    ExactSpan(47),
    ExactSpan(3_600_000_000),
    *(
        CalendarSpan(period, zone)
        for period in ("hour", "day", "week", "month")
        for zone in ("UTC", "America/New_York", "Asia/Kolkata", "America/Sao_Paulo")
    ),
]


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(spans),
    st.datetimes(datetime(2015, 1, 1), datetime(2026, 1, 1)),  # noqa: DTZ001 - made UTC below
    st.timedeltas(timedelta(0), timedelta(days=40)),
)
def test_a_row_is_inside_from_its_event_to_its_end(
    span: Span, naive: datetime, later: timedelta
) -> None:
    event = instant_us(naive.replace(tzinfo=UTC))
    t = event + later // timedelta(microseconds=1)
    ends = int(span.ends_us(np.array([event]))[0])
    assert (span.first_us(t) <= event) == (t < ends)
    assert int(span.firsts_us(np.array([t]))[0]) == span.first_us(t)
    assert int(span.tiles_us(np.array([event]))[0]) == span.tile_us(event) <= event


@pytest.mark.parametrize("zone", ["UTC", "Pacific/Kiritimati", "Pacific/Pago_Pago"])
@pytest.mark.parametrize("period", ["hour", "day", "week", "month"])
def test_every_instant_that_is_taken_has_a_period(period: str, zone: str) -> None:
    span = CalendarSpan(period, zone)
    years = [CALENDAR_US_MIN, CALENDAR_US_MAX]
    edges = np.array([TIME_US_MIN, TIME_US_MAX - 1, *years, *(year - 1 for year in years)])
    assert (span.firsts_us(edges) <= edges).all()
    assert (edges < span.ends_us(edges)).all()
