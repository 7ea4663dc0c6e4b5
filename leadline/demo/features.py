"""What the demo's model may know about a flight: the same definitions in training and in serving.

Every source is a log of things that became known at their event time (a departure when the plane
leaves, an arrival when it lands), so the declared availability lag is zero.
"""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from shared_features import (
    Aggregate,
    Entity,
    FeatureService,
    FeatureView,
    Source,
    WindowView,
    on_demand,
)

ROUTE = Entity("route", keys={"carrier": "string", "origin": "string", "dest": "string"})
CARRIER = Entity("carrier", keys={"carrier": "string"})
AIRPORT = Entity("airport", keys={"origin": "string"}, description="Where the flight leaves from.")
PLANE = Entity("plane", keys={"tailnum": "string"})

KNOWN_AT_ONCE = timedelta(0)

ARRIVALS = Source(
    "arrivals",
    columns={
        "carrier": "string",
        "origin": "string",
        "dest": "string",
        "tailnum": "string",
        "delay_min": "int64",
        "late": "int64",
    },
    availability_lag=KNOWN_AT_ONCE,
    description="A flight has landed; late is 1 when more than 15 minutes after schedule.",
)
DEPARTURES = Source(
    "departures",
    columns={"origin": "string", "delay_min": "int64"},
    availability_lag=KNOWN_AT_ONCE,
    description="A flight has left.",
)
WEATHER = Source(
    "weather",
    columns={
        "origin": "string",
        "temp": "float64",
        "humid": "float64",
        "wind_speed": "float64",
        "precip": "float64",
        "visib": "float64",
    },
    availability_lag=KNOWN_AT_ONCE,
    description="The hourly observation at the airport: °F, %, mph, inches, miles.",
)

ROUTE_LATE_7D = WindowView(
    "route_late_7d",
    entity=ROUTE,
    source=ARRIVALS,
    window=timedelta(days=7),
    features={"share": Aggregate.avg("late"), "flights": Aggregate.count()},
)
CARRIER_LATE_7D = WindowView(
    "carrier_late_7d",
    entity=CARRIER,
    source=ARRIVALS,
    window=timedelta(days=7),
    features={"share": Aggregate.avg("late")},
)
ORIGIN_DELAY_3H = WindowView(
    "origin_delay_3h",
    entity=AIRPORT,
    source=DEPARTURES,
    window=timedelta(hours=3),
    features={"mean_min": Aggregate.avg("delay_min"), "departures": Aggregate.count()},
)
PLANE_DELAY_12H = WindowView(
    "plane_delay_12h",
    entity=PLANE,
    source=ARRIVALS,
    window=timedelta(hours=12),
    features={"mean_min": Aggregate.avg("delay_min")},
)
ORIGIN_WEATHER = FeatureView(
    "origin_weather",
    entity=AIRPORT,
    source=WEATHER,
    features={
        "temp": "float64",
        "humid": "float64",
        "wind_speed": "float64",
        "precip": "float64",
        "visib": "float64",
    },
    max_age=timedelta(hours=3),
)


@on_demand(
    request={"scheduled_departure": "timestamp", "distance": "int64"},
    outputs={"local_hour": "float64", "weekday": "int64", "distance_miles": "int64"},
)
def calendar(columns: dict[str, Any]) -> dict[str, Any]:
    """The scheduled departure on New York's clock: hour with its fraction, weekday (0 = Monday)."""
    hour_us, day_us = 3_600_000_000, 86_400_000_000
    zone = ZoneInfo("America/New_York")
    departure = np.asarray(columns["scheduled_departure"], np.int64)
    # The zone's offset changes on full hours only, so it is asked once for each hour that occurs.
    hours, where = np.unique(departure // hour_us, return_inverse=True)
    utc = [datetime.fromtimestamp(hour * 3600, UTC) for hour in hours.tolist()]
    shifts = [(at.astimezone(zone).replace(tzinfo=UTC) - at) // timedelta(hours=1) for at in utc]
    local = departure + np.array(shifts, np.int64)[where] * hour_us
    return {
        "local_hour": (local % day_us) / hour_us,
        "weekday": (local // day_us + 3) % 7,  # 1 January 1970 was a Thursday
        "distance_miles": columns["distance"],
    }


CALENDAR = ("calendar:local_hour", "calendar:weekday", "calendar:distance_miles")

DELAY_CALENDAR = FeatureService("delay_calendar", refs=CALENDAR)
DELAY_ONLINE = FeatureService(
    "delay_online",
    refs=(
        *CALENDAR,
        "route_late_7d:share",
        "route_late_7d:flights",
        "carrier_late_7d:share",
        "origin_delay_3h:mean_min",
        "origin_delay_3h:departures",
        "plane_delay_12h:mean_min",
        "origin_weather:temp",
        "origin_weather:humid",
        "origin_weather:wind_speed",
        "origin_weather:precip",
        "origin_weather:visib",
    ),
)
