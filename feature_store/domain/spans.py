"""Which rows a window holds at t, and how its past is cut into tiles.

A row of event time e is inside at t when ``first_us(t) <= e <= t``; so it is inside from when it is
available up to, excluding, ``end_us(e)``. Tiles are cut so that all rows of a tile lie in the
window together, except in the one tile that contains ``first_us(t)``.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

import numpy as np

from feature_store.domain.keys import instant_us
from feature_store.domain.schema import TIME_US_MAX, TIME_US_MIN, Int64s
from shared_features import CalendarWindow, WindowView

TILES_PER_WINDOW = 48
"""A look-up reads the tiles and one tile's rows; at a few thousand rows the two are equal."""


class Span(Protocol):
    """The extent of a window over time."""

    slack_us: int
    """How much longer rows are kept, for readers whose clock is a little behind the writer's."""

    def first_us(self, t_us: int) -> int:
        """The earliest event time inside at ``t_us``."""

    def firsts_us(self, t_us: Int64s) -> Int64s:
        """``first_us`` of many."""

    def ends_us(self, event_us: Int64s) -> Int64s:
        """The first instants at which rows of these event times are out."""

    def tiles_us(self, event_us: Int64s) -> Int64s:
        """The beginnings of the tiles that hold these event times."""

    def tile_us(self, event_us: int) -> int:
        """``tiles_us`` of one."""

    def tile_ends_us(self, tiles_us: Int64s) -> Int64s:
        """The last instants that may lie in these tiles, or a little later."""


class ExactSpan:
    """(t − window, t], to the microsecond."""

    def __init__(self, window_us: int) -> None:
        self._window = window_us
        self._tile = max(1, -(-window_us // TILES_PER_WINDOW))
        self.slack_us = self._tile

    def first_us(self, t_us: int) -> int:
        return t_us - self._window + 1

    def firsts_us(self, t_us: Int64s) -> Int64s:
        return t_us - (self._window - 1)

    def ends_us(self, event_us: Int64s) -> Int64s:
        return event_us + self._window

    def tiles_us(self, event_us: Int64s) -> Int64s:
        return event_us // self._tile * self._tile

    def tile_us(self, event_us: int) -> int:
        return event_us // self._tile * self._tile

    def tile_ends_us(self, tiles_us: Int64s) -> Int64s:
        return tiles_us + self._tile


CALENDAR_US_MIN, CALENDAR_US_MAX = -62_104_060_800_000_000, 253_370_764_800_000_000
"""The years 1 and 9999 are one period each: at their edges Python has no local time."""


class CalendarSpan:
    """From the beginning of the zone's current hour, day, week (Monday) or month, up to t."""

    slack_us = 3_600_000_000

    def __init__(self, period: str, zone: str) -> None:
        self._period = period
        self._zone = ZoneInfo(zone)

    def _local(self, t_us: int) -> datetime:
        # whole seconds suffice: periods begin on them
        return datetime.fromtimestamp(t_us // 1_000_000, UTC).astimezone(self._zone)

    def first_us(self, t_us: int) -> int:
        if t_us < CALENDAR_US_MIN:
            return TIME_US_MIN
        if t_us >= CALENDAR_US_MAX:
            return CALENDAR_US_MAX
        if self._period == "hour":  # by offset: a zone's repeated hour is two hours
            local = self._local(t_us)
            return t_us - t_us % 1_000_000 - (local.minute * 60 + local.second) * 1_000_000
        return self._instant(self._begin(self._local(t_us)))

    def _begin(self, local: datetime) -> datetime:
        day = local.replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None, fold=0)
        if self._period == "week":
            day -= timedelta(days=day.weekday())
        return day.replace(day=1) if self._period == "month" else day

    def _instant(self, naive: datetime) -> int:
        return instant_us(naive.replace(tzinfo=self._zone).astimezone(UTC))

    def _end(self, event_us: int) -> int:
        if event_us < CALENDAR_US_MIN:
            return CALENDAR_US_MIN
        if event_us >= CALENDAR_US_MAX:
            return TIME_US_MAX
        if self._period == "hour":
            return self.first_us(event_us) + 3_600_000_000
        begin = self._begin(self._local(event_us))
        if self._period == "day":
            return self._instant(begin + timedelta(days=1))
        if self._period == "week":
            return self._instant(begin + timedelta(days=7))
        return self._instant((begin + timedelta(days=32)).replace(day=1))

    def firsts_us(self, t_us: Int64s) -> Int64s:
        return _each(t_us, self.first_us)

    def ends_us(self, event_us: Int64s) -> Int64s:
        return _each(event_us, self._end)

    def tiles_us(self, event_us: Int64s) -> Int64s:
        return _each(event_us, self.first_us)

    def tile_us(self, event_us: int) -> int:
        return self.first_us(event_us)

    def tile_ends_us(self, tiles_us: Int64s) -> Int64s:
        return tiles_us  # a tile is a period; all of its rows end together


def _each(instants: Int64s, of_one: Callable[[int], int]) -> Int64s:
    """Evaluate once a quarter of an hour: no zone's offset changes within one."""
    quarters, index = np.unique(instants // 900_000_000, return_inverse=True)
    found = np.array([of_one(int(quarter) * 900_000_000) for quarter in quarters], np.int64)
    return found[index.reshape(instants.shape)]


def span_of(view: WindowView | CalendarWindow) -> Span:
    """The span of a windowed view."""
    if isinstance(view, WindowView):
        return ExactSpan(view.window_us)
    return CalendarSpan(view.period, view.zone)
