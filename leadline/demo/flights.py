"""The demo's facts: flights and weather, and when each of them became known."""

from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

DATA_DIR = Path(__file__).parent / "data"
MINUTE_US = 60_000_000
HOUR_US = 60 * MINUTE_US
DAY_US = 24 * HOUR_US
LATE_AFTER_MIN = 15
"""A flight is late when it arrives more than this many minutes after its scheduled arrival."""
ASK_BEFORE_US = HOUR_US
"""The prediction instant: this long before the scheduled departure."""
HISTORY_FROM_US = int(datetime(2013, 9, 1, tzinfo=UTC).timestamp()) * 1_000_000
TRAIN_FROM_US = HISTORY_FROM_US + 7 * DAY_US
"""The first instant whose seven-day windows are full."""
DECEMBER_US = int(datetime(2013, 12, 1, tzinfo=UTC).timestamp()) * 1_000_000
"""Where the seeded platform stands: everything before is history, everything after is replayed."""
END_US = int(datetime(2014, 1, 2, tzinfo=UTC).timestamp()) * 1_000_000
"""By now the last flight of the year has landed."""

INSTANT = pa.timestamp("us", tz="UTC")


@cache
def flights() -> pa.Table:
    """Every scheduled flight, ordered by scheduled departure (schema: ``repack.FLIGHT_SCHEMA``)."""
    return pq.read_table(DATA_DIR / "flights.parquet")


@cache
def weather() -> pa.Table:
    """Hourly weather of the origins; ``event_time`` is the hour, when it was known."""
    table = pq.read_table(DATA_DIR / "weather.parquet")
    return table.rename_columns({"observed_at": "event_time"})


@cache
def departures() -> pa.Table:
    """Flights that left: origin, minutes late, ``event_time`` = actual departure; in its order."""
    left = flights().filter(pc.is_valid(pc.field("departure_delay_min")))
    return _ordered(
        pa.table(
            {
                "flight_id": _flight_id(left),
                "origin": left["origin"],
                "delay_min": left["departure_delay_min"].cast(pa.int64()),
                "event_time": _plus_minutes(
                    left["scheduled_departure"], left["departure_delay_min"]
                ),
            }
        )
    )


@cache
def arrivals() -> pa.Table:
    """Flights that arrived: keys, minutes late and whether late; in order of actual arrival."""
    landed = flights().filter(pc.is_valid(pc.field("arrival_delay_min")))
    return _ordered(
        pa.table(
            {
                "flight_id": _flight_id(landed),
                "carrier": landed["carrier"],
                "origin": landed["origin"],
                "dest": landed["dest"],
                "tailnum": landed["tailnum"],
                "delay_min": landed["arrival_delay_min"].cast(pa.int64()),
                "late": _late(landed).cast(pa.int64()),
                "event_time": _plus_minutes(
                    landed["scheduled_arrival"], landed["arrival_delay_min"]
                ),
            }
        )
    )


@cache
def asks() -> pa.Table:
    """What is asked about each scheduled flight, and what came of it; ordered by ``asked_at``.

    ``late`` and ``landed_at`` are null for flights that never arrived: they get no label.
    An unknown plane is the empty tail number, which no arrival carries.
    """
    table = flights()
    return _ordered(
        pa.table(
            {
                "flight_id": _flight_id(table),
                "carrier": table["carrier"],
                "origin": table["origin"],
                "dest": table["dest"],
                "tailnum": pc.fill_null(table["tailnum"], ""),
                "distance": table["distance"].cast(pa.int64()),
                "scheduled_departure": table["scheduled_departure"],
                "asked_at": _plus_minutes(
                    table["scheduled_departure"], pa.scalar(-ASK_BEFORE_US // MINUTE_US, pa.int32())
                ),
                "late": _late(table),
                "landed_at": _plus_minutes(table["scheduled_arrival"], table["arrival_delay_min"]),
            }
        ),
        by="asked_at",
    )


def between(table: pa.Table, column: str, from_us: int, until_us: int) -> pa.Table:
    """The rows with ``from_us <= column < until_us``; a null instant is in no interval."""
    at = pc.field(column).cast(pa.int64())
    return table.filter((at >= from_us) & (at < until_us))


def _late(table: pa.Table) -> pa.ChunkedArray:
    return pc.greater(table["arrival_delay_min"], LATE_AFTER_MIN)


def _plus_minutes(instants: pa.ChunkedArray, minutes: pa.ChunkedArray | pa.Scalar) -> pa.Array:
    shift = pc.multiply(pc.cast(minutes, pa.int64()), MINUTE_US)
    return pc.add(instants.cast(pa.int64()), shift).cast(INSTANT)


def _flight_id(table: pa.Table) -> pa.ChunkedArray:
    """One name a scheduled flight: carrier, number, origin and scheduled minute."""
    return pc.binary_join_element_wise(
        table["carrier"],
        table["flight"].cast(pa.string()),
        table["origin"],
        pc.strftime(table["scheduled_departure"], "%Y%m%dT%H%MZ"),
        "-",
    )


def _ordered(table: pa.Table, by: str = "event_time") -> pa.Table:
    return table.sort_by([(by, "ascending"), ("flight_id", "ascending")])
