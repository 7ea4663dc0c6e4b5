"""Brings served events from the spool to the stream; the spool forgets only what is safe there."""

import asyncio
from collections import deque

from inference.domain.spool_record import SpoolPlace
from inference.ports import SpoolReader, Stream
from kit.clock import Clock
from kit.logs import get_logger
from kit.redis_pipeline import RedisAway, RedisError

_log = get_logger(__name__)
_BYTES_A_TURN = 1 << 20
_IDLE_S = 0.02
_PAUSE_S = 0.01
"""After records were added: those of 10 ms go together, up to 100 MB a second. Added as they come,
they cost Redis twice the processor time (9 µs a request instead of 4, at 20,000 a second)."""
_ACKNOWLEDGE_EVERY_S = 0.25
_UNCONFIRMED_S = 2.0
"""Without a confirmation the cursor trails this far: twice the ``everysec`` of an append-only
file."""
_DELAY_S_MAX = 2.0


class Ship:
    """At least once: after any doubt everything behind the cursor is added again, and the reader
    drops what it has by (producer, sequence)."""

    def __init__(self, spool: SpoolReader, stream: Stream, clock: Clock) -> None:
        self._spool = spool
        self._stream = stream
        self._clock = clock
        self._place: SpoolPlace | None = None
        self._doubt = 0
        self._unconfirmed: deque[tuple[int, SpoolPlace]] = deque()
        self.shipped = 0
        """Records added to the stream, repeats included."""
        self.failures = 0
        self.behind = False
        """Whether the stream is away."""

    async def run(self) -> None:
        """For ever; where one half fails the other ends too, for both are started again."""
        async with asyncio.TaskGroup() as both:
            both.create_task(self._add_for_ever())
            both.create_task(self._acknowledge_for_ever())

    async def _add_for_ever(self) -> None:
        delay_s = _IDLE_S
        while True:
            try:
                added = await self.add()
                delay_s = _IDLE_S
            except (RedisAway, RedisError, TimeoutError) as away:
                self._start_again(str(away))
                added = 0
                delay_s = min(delay_s * 2, _DELAY_S_MAX)
            await self._clock.sleep_s(_PAUSE_S if added else delay_s)

    async def _acknowledge_for_ever(self) -> None:
        while True:
            await self._clock.sleep_s(_ACKNOWLEDGE_EVERY_S)
            await self.try_acknowledge()

    async def try_acknowledge(self) -> None:
        """``acknowledge``; after any doubt the stream gets everything behind the cursor again."""
        try:
            await self.acknowledge()
        except (RedisAway, RedisError, TimeoutError) as away:
            self._start_again(str(away))

    def _start_again(self, reason: str) -> None:
        if not self.behind:
            _log.warning("served_log_stream_away", reason=reason)
        self.behind = True
        self.failures += 1
        self._place = None
        self._doubt += 1
        self._unconfirmed.clear()

    async def add(self) -> int:
        """Add the next records to the stream; how many there were."""
        if self._place is None:
            await self._stream.begin()
            self._place = self._spool.cursor
        doubt, (records, after) = self._doubt, self._spool.read(self._place, _BYTES_A_TURN)
        if records:
            await self._stream.add(records)
        if doubt != self._doubt:
            return 0
        self._place = after
        self.behind = False
        self.shipped += len(records)
        return len(records)

    async def acknowledge(self) -> None:
        """Let the spool forget what the stream has durably."""
        place, doubt = self._place, self._doubt
        if place is None or place <= self._spool.cursor:
            return
        confirmed = await self._stream.acknowledged()
        if doubt != self._doubt:
            return
        if confirmed:
            self._unconfirmed.clear()
            self._spool.release(place)
            return
        now_ns = self._clock.monotonic_ns()
        self._unconfirmed.append((now_ns, place))
        while self._unconfirmed and now_ns - self._unconfirmed[0][0] > _UNCONFIRMED_S * 1e9:
            self._spool.release(self._unconfirmed.popleft()[1])
