"""The demo's features computed a second time, by binary search over sorted events and nothing of
the platform's: what its answers are compared with."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from leadline.demo.features import calendar
from leadline.demo.flights import DAY_US, HOUR_US, arrivals, departures, weather

WEATHER = ("temp", "humid", "wind_speed", "precip", "visib")
FAR = 10**16


def reference_join(rows: pa.Table, service: str) -> pa.Table:
    """``rows`` (with ``event_time``) and the refs of ``delay_calendar`` or ``delay_online``."""
    found: dict[str, Any] = {
        f"calendar:{name}": values
        for name, values in calendar(
            {
                "scheduled_departure": _micros(rows["scheduled_departure"]),
                "distance": np.asarray(rows["distance"]),
            }
        ).items()
    }
    if service == "delay_online":
        route, carrier, plane = ("carrier", "origin", "dest"), ("carrier",), ("tailnum",)
        share, flights = _window(rows, arrivals(), route, "late", 7 * DAY_US)
        found |= {"route_late_7d:share": share, "route_late_7d:flights": flights}
        found["carrier_late_7d:share"], _ = _window(rows, arrivals(), carrier, "late", 7 * DAY_US)
        mean, count = _window(rows, departures(), ("origin",), "delay_min", 3 * HOUR_US)
        found |= {"origin_delay_3h:mean_min": mean, "origin_delay_3h:departures": count}
        mean, _ = _window(rows, arrivals(), plane, "delay_min", 12 * HOUR_US)
        found["plane_delay_12h:mean_min"] = mean
        found |= {f"origin_weather:{name}": _latest_weather(rows, name) for name in WEATHER}
    return pa.table({**{name: rows[name] for name in rows.column_names}, **found})


def _micros(column: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    return np.asarray(column.cast(pa.int64()))


def _codes(rows: pa.Table, events: pa.Table, keys: tuple[str, ...]) -> tuple[Any, Any]:
    joined = [
        pc.binary_join_element_wise(*(table[key] for key in keys), "|") for table in (rows, events)
    ]
    both = pa.chunked_array(joined[0].chunks + joined[1].chunks)
    codes = np.asarray(both.combine_chunks().dictionary_encode().indices).astype(np.int64)
    return codes[: len(rows)], codes[len(rows) :]


def _window(
    rows: pa.Table, events: pa.Table, keys: tuple[str, ...], column: str, width_us: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """(mean, count) over (t - width, t]; the mean of nothing is NaN."""
    asked, known = _codes(rows, events, keys)
    place = known * FAR + _micros(events["event_time"])
    order = np.argsort(place, kind="stable")
    sums = np.concatenate([[0], np.cumsum(np.asarray(events[column])[order])])
    at = asked * FAR + _micros(rows["event_time"])
    high = np.searchsorted(place[order], at, "right")
    low = np.searchsorted(place[order], at - width_us, "right")
    count = high - low
    with np.errstate(invalid="ignore"):
        return (sums[high] - sums[low]) / count, count


def _latest_weather(rows: pa.Table, name: str) -> npt.NDArray[np.float64]:
    asked, known = _codes(rows, weather(), ("origin",))
    place = known * FAR + _micros(weather()["event_time"])
    order = np.argsort(place)
    at = asked * FAR + _micros(rows["event_time"])
    latest = np.maximum(np.searchsorted(place[order], at, "right") - 1, 0)
    age = at - place[order][latest]
    values = np.asarray(weather()[name])[order][latest]
    return np.where((age >= 0) & (age <= 3 * HOUR_US), values, np.nan)
