"""Which days are unlike the training's, so that the difference teaches nothing.

The training rows say how traffic is spread over the hours of a week. A version that began or ended
within a day has met only part of its hours: its inputs differ from training as mornings differ from
evenings. And on some dates people know beforehand that traffic will be different.
"""

from collections.abc import Collection, Iterable, Sequence
from datetime import date

from contracts.profile import HourRate
from monitor.domain.when import Window

COVERED_MIN = 0.8
"""Share of a day's usual traffic that the served hours must hold."""
_EPOCH = date(1970, 1, 1).toordinal()


def covered(rates: Sequence[HourRate], served: Collection[int], window: Window) -> float:
    """Share of the window's usual traffic (training rows by hour of week) that falls into the
    ``served`` hours (since 1970); 1 where training had no times, or no traffic in the window."""
    usual = {rate.hour_of_week: rate.rows for rate in rates}
    at = {hour: usual.get(hour_of_week(hour), 0) for hour in _hours(window)}
    total = sum(at.values())
    return sum(rows for hour, rows in at.items() if hour in served) / total if total else 1.0


def hour_of_week(hour: int) -> int:
    """0 = Monday 00Z, of an hour since 1970."""
    return (hour + 72) % 168


def began_or_ended(now: float, before: float) -> bool:
    """Coverage of a day and of the day before it: is this day a part of one, unlike the last?

    A version that always serves mornings alone is judged: that is how it is used.
    """
    return now < COVERED_MIN and abs(now - before) > 1 - COVERED_MIN


def read_days(texts: Iterable[str]) -> frozenset[int]:
    """Day numbers (since 1970) of dates such as ``2013-11-28`` or spans ``2013-11-28/2013-12-01``
    (both ends in). Raises ``ValueError`` that says which text is wrong."""
    found: set[int] = set()
    for text in texts:
        first, _, last = text.partition("/")
        try:
            ends = [date.fromisoformat(end.strip()).toordinal() for end in (first, last or first)]
        except ValueError:
            raise ValueError(f"known day {text!r}: a date or DATE/DATE is expected") from None
        if not 0 <= ends[1] - ends[0] < 366:
            raise ValueError(f"known day {text!r}: it ends before it begins, or is over a year")
        found.update(range(ends[0] - _EPOCH, ends[1] - _EPOCH + 1))
    return frozenset(found)


def is_known(days: Collection[int], window: Window) -> bool:
    """Does the window touch one of these days?"""
    return any(hour // 24 in days for hour in _hours(window))


def _hours(window: Window) -> range:
    return range(window.from_hour, window.until_hour)
