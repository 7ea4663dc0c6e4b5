"""Windows of business time, and which of them have ended."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from monitor.domain.rows import HOUR_US

Job = Literal["hour", "day", "week", "on_demand"]
HOURS: dict[Job, int] = {"hour": 1, "day": 24, "week": 168}
_MONDAY = 96
"""1970-01-05T00Z, a Monday, in hours since 1970."""


@dataclass(frozen=True, slots=True)
class Window:
    """Business time [from_hour, until_hour), in hours since 1970 UTC."""

    from_hour: int
    until_hour: int

    @property
    def from_us(self) -> int:
        """First microsecond."""
        return self.from_hour * HOUR_US

    @property
    def until_us(self) -> int:
        """First microsecond after it."""
        return self.until_hour * HOUR_US

    @property
    def hours(self) -> int:
        """Its length."""
        return self.until_hour - self.from_hour

    @property
    def text(self) -> str:
        """``2013-12-05`` for a whole day, else both ends."""
        first = datetime.fromtimestamp(self.from_hour * 3600, UTC)
        last = datetime.fromtimestamp(self.until_hour * 3600, UTC)
        if self.hours == 24 and self.from_hour % 24 == 0:
            return f"{first:%Y-%m-%d}"
        return f"{first:%Y-%m-%dT%H:%M}Z to {last:%Y-%m-%dT%H:%M}Z"


def last_hours(now_us: int, hours: int) -> Window:
    """The window of so many hours that ends with the running hour."""
    until = now_us // HOUR_US + 1
    return Window(until - hours, until)


def ended(job: Job, done_hour: int | None, first_hour: int, now_us: int) -> list[Window]:
    """Windows of a job that have ended and are not done, oldest first.

    ``done_hour`` is where the last done window ended; ``first_hour`` when the first row was
    served. Weeks begin on Mondays.
    """
    length = HOURS[job]
    offset = _MONDAY % length
    start = (
        done_hour if done_hour is not None else (first_hour - offset) // length * length + offset
    )
    now = now_us // HOUR_US
    return [Window(at, at + length) for at in range(start, now - length + 1, length)]
