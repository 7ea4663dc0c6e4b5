from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from leadline.demo import flights as facts
from leadline.demo.flights import DAY_US, arrivals, asks, between, departures, flights, weather


def _micros(column: pa.ChunkedArray) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
    return np.asarray(column.cast(pa.int64()))


def _flight(carrier: str, number: int, origin: str, scheduled: datetime) -> dict[str, object]:
    rows = flights().filter(
        (pc.field("carrier") == carrier)
        & (pc.field("flight") == number)
        & (pc.field("origin") == origin)
        & (pc.field("scheduled_departure") == pa.scalar(scheduled, facts.INSTANT))
    )
    assert len(rows) == 1
    return dict(rows.to_pylist()[0])


def test_there_are_109_619_labels_and_the_rest_never_arrived() -> None:
    assert len(flights()) == 111_866
    assert len(arrivals()) == 109_619
    assert asks()["late"].null_count == asks()["landed_at"].null_count == 111_866 - 109_619
    assert asks()["scheduled_departure"].null_count == 0


def test_late_rates_by_month_are_those_of_the_source() -> None:
    month = pc.strftime(
        pc.assume_timezone(
            pc.local_timestamp(
                pc.cast(asks()["scheduled_departure"], pa.timestamp("us", "America/New_York"))
            ),
            "UTC",
        ),
        "%m",
    )
    rates = (
        pa.table({"month": month, "late": asks()["late"]})
        .group_by("month")
        .aggregate([("late", "mean")])
    )
    found = dict(zip(*rates.to_pydict().values(), strict=True))
    assert found == pytest.approx(
        {"09": 0.132358, "10": 0.167657, "11": 0.173520, "12": 0.326129}, abs=1e-6
    )


@pytest.mark.parametrize(
    ("carrier", "number", "origin", "departure", "arrival"),
    [
        # 1 September, 05:16 in New York (summer) to 08:00 in Houston.
        (
            "UA",
            1545,
            "EWR",
            datetime(2013, 9, 1, 9, 16, tzinfo=UTC),
            datetime(2013, 9, 1, 13, 0, tzinfo=UTC),
        ),
        # 1 December, 09:30 in New York (winter) to 15:35 in Honolulu.
        (
            "HA",
            51,
            "JFK",
            datetime(2013, 12, 1, 14, 30, tzinfo=UTC),
            datetime(2013, 12, 2, 1, 35, tzinfo=UTC),
        ),
        # 1 December, 23:59 in New York to 04:40 the next day in San Juan.
        (
            "B6",
            1503,
            "JFK",
            datetime(2013, 12, 2, 4, 59, tzinfo=UTC),
            datetime(2013, 12, 2, 8, 40, tzinfo=UTC),
        ),
    ],
)
def test_clock_times_became_instants_by_the_zone_of_each_airport(
    carrier: str, number: int, origin: str, departure: datetime, arrival: datetime
) -> None:
    row = _flight(carrier, number, origin, departure)
    assert row["scheduled_arrival"] == arrival


def test_every_journey_is_shorter_than_half_a_day_and_none_arrives_before_it_leaves() -> None:
    minutes = (
        _micros(flights()["scheduled_arrival"]) - _micros(flights()["scheduled_departure"])
    ) // facts.MINUTE_US
    assert minutes.min() > 0
    assert minutes.max() < 12 * 60


@pytest.mark.parametrize("dest", ["BQN", "PSE", "SJU", "STT"])
def test_the_caribbean_keeps_one_clock_all_year(dest: str) -> None:
    # About four hours of flight, before and after New York's change of clocks alike; a wrong zone
    # would be an hour off on one side of it.
    rows = flights().filter(pc.field("dest") == dest)
    minutes = (
        _micros(rows["scheduled_arrival"]) - _micros(rows["scheduled_departure"])
    ) / facts.MINUTE_US
    before = _micros(rows["scheduled_departure"]) < int(
        datetime(2013, 11, 3, 6, tzinfo=UTC).timestamp() * 1e6
    )
    assert 200 < np.median(minutes[before]) < 260
    assert abs(np.median(minutes[before]) - np.median(minutes[~before])) < 30


def test_a_label_is_known_when_the_flight_has_landed_3_8_hours_after_the_question() -> None:
    labelled = asks().filter(pc.is_valid(pc.field("late")))
    hours = (_micros(labelled["landed_at"]) - _micros(labelled["asked_at"])) / facts.HOUR_US
    assert np.median(hours) == pytest.approx(3.8, abs=0.05)
    assert hours.min() > 0


def test_flight_ids_are_unique() -> None:
    assert pc.count_distinct(asks()["flight_id"]).as_py() == len(asks())


def test_every_plane_that_arrived_has_a_tail_number() -> None:
    assert arrivals()["tailnum"].null_count == 0
    assert not pc.any(pc.equal(arrivals()["tailnum"], "")).as_py()


def test_weather_is_one_row_an_hour_and_origin() -> None:
    keys = weather().group_by(["origin", "event_time"]).aggregate([([], "count_all")])
    assert len(keys) == len(weather()) == 8_740
    assert set(weather()["origin"].unique().to_pylist()) == {"EWR", "JFK", "LGA"}


@pytest.mark.parametrize("table", [departures, arrivals, weather])
def test_events_come_in_the_order_in_which_they_became_known(table: object) -> None:
    assert callable(table)
    assert (np.diff(_micros(table()["event_time"])) >= 0).all()


def test_between_takes_the_start_and_leaves_the_end() -> None:
    day = between(asks(), "asked_at", facts.DECEMBER_US, facts.DECEMBER_US + DAY_US)
    instants = _micros(day["asked_at"])
    assert instants.min() >= facts.DECEMBER_US
    assert instants.max() < facts.DECEMBER_US + DAY_US
    everything = between(asks(), "asked_at", 0, facts.DECEMBER_US)
    rest = between(asks(), "asked_at", facts.DECEMBER_US, facts.END_US)
    assert len(everything) + len(rest) == len(asks())
