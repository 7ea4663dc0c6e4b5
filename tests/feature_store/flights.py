"""Definitions the tests share: few, but of every kind."""

from datetime import timedelta
from typing import Any

from shared_features import (
    Aggregate,
    CalendarWindow,
    Catalogue,
    Entity,
    FeatureService,
    FeatureView,
    Source,
    WindowView,
    on_demand,
)

ROUTE = Entity("route", {"carrier": "string", "number": "int64"})
CARRIER = Entity("carrier", {"carrier": "string"})
ARRIVALS = Source(
    "arrivals",
    {"carrier": "string", "number": "int64", "delay": "int64", "taxi": "float64"},
)
LATE_1H = WindowView(
    "late_1h",
    CARRIER,
    ARRIVALS,
    timedelta(hours=1),
    {"flights": Aggregate.count(), "mean": Aggregate.avg("delay"), "taxi": Aggregate.sum("taxi")},
)
TODAY = CalendarWindow(
    "today", CARRIER, ARRIVALS, "day", "America/New_York", {"flights": Aggregate.count()}
)
LAST_ARRIVAL = FeatureView(
    "last_arrival", ROUTE, {"delay": "int64"}, ARRIVALS, max_age=timedelta(days=1)
)
PROFILE = FeatureView(
    "profile", CARRIER, {"name": "string", "fleet": "int64", "founded": "timestamp", "low": "bool"}
)


@on_demand(
    inputs=["profile:fleet"], request={"distance": "int64"}, outputs={"per_plane": "float64"}
)
def spread(columns: dict[str, Any]) -> dict[str, Any]:
    return {"per_plane": columns["distance"] / columns["profile:fleet"]}


MODEL = FeatureService(
    "model",
    (
        "late_1h:flights",
        "late_1h:mean",
        "late_1h:taxi",
        "today:flights",
        "last_arrival:delay",
        "profile:name",
        "profile:fleet",
        "profile:founded",
        "profile:low",
        "spread:per_plane",
    ),
)


def catalogue() -> Catalogue:
    """All of the above."""
    return Catalogue([ARRIVALS, LATE_1H, TODAY, LAST_ARRIVAL, PROFILE, spread, MODEL])
