"""What every part of a transaction shares: its connection and its moment."""

from sqlalchemy import Connection
from sqlalchemy.sql import Executable

from kit.clock import Clock


class Rows:
    """One connection inside one database transaction."""

    def __init__(self, connection: Connection, clock: Clock) -> None:
        self._db = connection
        self._clock = clock
        self._now_us = clock.now_us()

    def now_us(self) -> int:
        """Business time, taken once."""
        return self._now_us

    def wall_us(self) -> int:
        """Real time."""
        return self._clock.wall_us()

    def _text(self, query: Executable) -> str | None:
        found = self._db.execute(query).scalar_one_or_none()
        return None if found is None else str(found)
