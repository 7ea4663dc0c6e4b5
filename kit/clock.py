"""Time, as something that is passed in, so that tests and the demo can replace it.

There are two times. *Business* time is what features, labels, windows and rollouts are about; the
demo replays December 2013 by moving it. *Wall* and *monotonic* time are the machine's; time-outs,
rate limits, key expiry and audit stamps go by them.
"""

import asyncio
import mmap
import os
import struct
import time
from pathlib import Path
from typing import Protocol

_CLOCK = struct.Struct("<qqd")  # business µs at the anchor, wall µs of the anchor, rate


class Clock(Protocol):
    """What code that needs the time asks for."""

    def now_us(self) -> int:
        """Business time, microseconds since 1970 UTC."""

    def wall_us(self) -> int:
        """The machine's real time, microseconds since 1970 UTC."""

    def monotonic_ns(self) -> int:
        """Nanoseconds that never go back, for durations."""

    async def sleep_s(self, seconds: float) -> None:
        """Wait in monotonic time."""


class SystemClock:
    """The machine's clock; business time is wall time."""

    def now_us(self) -> int:
        return time.time_ns() // 1000  # noqa: TID251 - this is the clock

    def wall_us(self) -> int:
        return time.time_ns() // 1000  # noqa: TID251 - this is the clock

    monotonic_ns = staticmethod(time.monotonic_ns)  # read at every step of a request: no frame

    async def sleep_s(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class FileClock(SystemClock):
    """Business time from a file that another process may move (the demo's replay).

    The file is mapped, so that a reading costs no system call and sees a move at once.
    """

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            self._map = mmap.mmap(file.fileno(), _CLOCK.size, access=mmap.ACCESS_READ)

    def now_us(self) -> int:
        business_us, anchor_us, rate = _CLOCK.unpack_from(self._map)
        if not rate:
            return int(business_us)
        return int(business_us + (self.wall_us() - anchor_us) * rate)


def write_clock(path: Path, now_us: int, rate: float = 0.0) -> None:
    """Set business time to ``now_us`` from this moment on, passing ``rate`` times as fast as wall.

    Rate 0 stops it. Written in place (24 bytes, one write), so that mapped readers see it.
    """
    record = _CLOCK.pack(now_us, SystemClock().wall_us(), rate)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        os.pwrite(descriptor, record, 0)
    finally:
        os.close(descriptor)


class FakeClock:
    """A clock that moves only when a test says so."""

    def __init__(self, now_us: int = 1_700_000_000_000_000) -> None:
        self._now_us = now_us
        self._monotonic_ns = 0

    def now_us(self) -> int:
        return self._now_us

    def wall_us(self) -> int:
        return self._now_us

    def monotonic_ns(self) -> int:
        return self._monotonic_ns

    async def sleep_s(self, seconds: float) -> None:
        self.advance_us(int(seconds * 1e6))
        await asyncio.sleep(0)

    def advance_us(self, delta_us: int) -> None:
        """Let that much time pass, in every kind of time."""
        self._now_us += delta_us
        self._monotonic_ns += delta_us * 1000

    def step_us(self, delta_us: int) -> None:
        """Step business and wall time, as an operator setting the date would (may go back)."""
        self._now_us += delta_us


def clock_from(clock_file: Path | None) -> Clock:
    """The clock a process runs by: the file's where one is given, else the machine's."""
    return SystemClock() if clock_file is None else FileClock(clock_file)
