"""An instant is what was meant, or it is refused."""

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from contracts.instants import Instant

INSTANT = TypeAdapter(Instant)
AT = datetime(2013, 12, 1, 16, 40, tzinfo=UTC)
ZONES = st.integers(-14 * 60, 14 * 60).map(lambda m: timezone(timedelta(minutes=m)))
MOMENTS = st.datetimes(
    AT.replace(1000, tzinfo=None), AT.replace(9998, tzinfo=None), timezones=ZONES
)


@given(MOMENTS)
def test_iso_8601_with_an_offset_is_the_instant_in_json_and_in_a_query(at: datetime) -> None:
    assert INSTANT.validate_json(f'"{at.isoformat()}"') == at
    assert INSTANT.validate_python(at.isoformat()) == at
    assert INSTANT.validate_python(at) == at


@pytest.mark.parametrize("text", ["2013-12-01T16:40Z", "2013-12-01 17:40:00+01:00"])
def test_it_may_be_short_and_may_have_a_space(text: str) -> None:
    assert INSTANT.validate_json(f'"{text}"') == INSTANT.validate_python(text) == AT


@pytest.mark.parametrize("text", ["2013", "20131201", "1385916000", "1385916000.5", "", "now"])
def test_digits_are_no_seconds_since_1970(text: str) -> None:
    for number_or_text in (text, 1385916000):
        with pytest.raises(ValidationError, match="such as 2013-12-01T16:40:00Z"):
            INSTANT.validate_python(number_or_text)
        with pytest.raises(ValidationError, match="such as 2013-12-01T16:40:00Z"):
            INSTANT.validate_json(json.dumps(number_or_text))


@pytest.mark.parametrize("text", ["2013-12-01T16:40:00", "2013-12-01", "2013-13-01T00:00:00Z"])
def test_a_time_of_no_zone_or_no_calendar_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        INSTANT.validate_json(f'"{text}"')
    with pytest.raises(ValidationError):
        INSTANT.validate_python(text)


def test_it_is_documented_as_a_date_time() -> None:
    assert INSTANT.json_schema() == {"type": "string", "format": "date-time"}
