"""Instants as people read them."""

from datetime import UTC, datetime


def moment(at_us: int | None) -> str:
    """``2013-12-05 14:00`` in UTC; a dash for none."""
    if at_us is None:
        return "-"
    return datetime.fromtimestamp(at_us / 1e6, UTC).strftime("%Y-%m-%d %H:%M")
