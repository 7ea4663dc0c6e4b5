from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from leadline.demo.features import calendar
from shared_features import load_catalogue

NEW_YORK = ZoneInfo("America/New_York")
SEASON = st.datetimes(datetime(2013, 1, 1), datetime(2014, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001


@given(st.lists(SEASON, min_size=1, max_size=20))
def test_the_calendar_is_new_yorks_on_both_sides_of_a_change_of_clocks(
    departures: list[datetime],
) -> None:
    micros = [
        at // timedelta(microseconds=1)
        for at in (d - datetime.fromtimestamp(0, UTC) for d in departures)
    ]
    columns = {"scheduled_departure": np.array(micros), "distance": np.arange(len(micros))}
    found = calendar(columns)
    local = [at.astimezone(NEW_YORK) for at in departures]
    assert found["weekday"].tolist() == [at.weekday() for at in local]
    assert found["local_hour"].astype(int).tolist() == [at.hour for at in local]
    assert found["distance_miles"].tolist() == list(range(len(micros)))


def test_the_demo_compiles_and_says_what_a_request_must_bring() -> None:
    catalogue = load_catalogue(["leadline.demo.features"])
    online, plain = catalogue.compile("delay_online"), catalogue.compile("delay_calendar")
    assert set(online.entity_columns) == {"carrier", "origin", "dest", "tailnum"}
    assert set(online.request_fields) == {"scheduled_departure", "distance"}
    assert not plain.entity_columns
    assert online.fingerprint != plain.fingerprint
    assert len(online.refs) >= 10
