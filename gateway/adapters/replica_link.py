"""One inference replica: a connection that many requests share, kept up in the background."""

import asyncio
import time
from dataclasses import dataclass
from typing import cast
from urllib.parse import urlsplit

from contracts.frames import (
    PROTOCOL,
    Answer,
    Ask,
    FrameError,
    FrameKind,
    FrameReader,
    pack_ask,
    pack_hello,
    pack_signal,
    unpack_answer,
    with_remaining,
)
from kit.logs import get_logger

_log = get_logger(__name__)

CONNECT_S = 1.0
RECONNECT_S_MIN, RECONNECT_S_MAX = 0.02, 1.0
BEHIND_S_MAX = 0.25
"""A replica that has left bytes unread and answered nothing for longer is stuck: an ask would wait
in this process, where no deadline is looked at, and be computed for nobody. One that answers is
only busy: how long an ask would wait for it, ``Queues`` know."""
ASKS_A_WRITE = 32
"""So many asks are not held back for the end of a turn: the replica works on them while the turn
goes on. Held back, the requests of many callers travel as one convoy, and gateway and replica wait
for each other in turn (16 % fewer requests a second at 64 callers)."""
FAULTS_MAX = 5
"""So many in a row put a replica aside: asks that it did not answer in time, or failed on."""
EJECT_S_MIN, EJECT_S_MAX = 1.0, 30.0
FAILED = 500
PASS_OVER_S_MIN, PASS_OVER_S_MAX = 0.25, 8.0
PASSED_OVER_MAX = 1_000


class ReplicaLost(Exception):
    """The connection went away before the answer came."""


@dataclass(slots=True, eq=False)
class Pending:
    """An ask on its way."""

    future: "asyncio.Future[Answer]"
    rows: int
    size: int
    due_ns: int
    held_ns: int = 0
    """How long the replica had no room for it."""


class ReplicaLink(asyncio.Protocol):
    """The connection to one replica. Asks of one event-loop turn go out in few writes."""

    def __init__(
        self, address: str, loop: asyncio.AbstractEventLoop, service_token: str = ""
    ) -> None:
        self.address = address
        self._parts = urlsplit(address)
        self._service_token = service_token
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._reader = FrameReader()
        self._out: list[bytes] = []
        self._held: dict[int, tuple[bytes, int]] = {}
        """Asks for which the replica has no room yet, and since when. Here they still age, and can
        be given up; in a socket's buffer they would be computed for nobody."""
        self._pending: dict[int, Pending] = {}
        self._last_id = 0
        self._lost = asyncio.Event()
        self._settled = asyncio.Event()
        """Set once a connection can be used, or is gone."""
        self._told_refused = False
        """That it accepts connections, but no asks, is logged once a spell."""
        self.tried = asyncio.Event()
        """Set once the first try to connect has ended, well or not."""
        self.rows = 0
        """In flight: what the least busy replica is chosen by."""
        self.bytes = 0
        self.usable = False
        self.faults = 0
        self.ejections = 0
        self.ejected_until_ns = 0
        self.passed_over: dict[str, tuple[int, float]] = {}
        """Targets that it refused and another answered: until when others are asked, and for how
        many seconds it was. Who refuses is done at once, and would always be the least busy."""
        self.next_due_ns = 0
        self.leaving = False
        self._behind_since_s: float | None = None
        self._answered_s = 0.0

    @property
    def _full(self) -> bool:
        """Whether the replica has no room for more now."""
        return self._behind_since_s is not None

    @property
    def behind(self) -> bool:
        """Whether the replica has neither kept up with reading nor answered for a while."""
        if self._behind_since_s is None:
            return False
        return self._loop.time() - max(self._behind_since_s, self._answered_s) > BEHIND_S_MAX

    @property
    def items(self) -> int:
        """Asks in flight."""
        return len(self._pending)

    def send(self, kind: FrameKind, ask: Ask, rows: int, due_ns: int) -> tuple[int, Pending]:
        """Queue an ask for this turn's next write. The link has to be usable."""
        self._last_id = frame_id = self._last_id + 1
        packed = pack_ask(kind, frame_id, ask)
        pending = Pending(self._loop.create_future(), rows, len(packed), due_ns)
        self._pending[frame_id] = pending
        self.rows += rows
        self.bytes += pending.size
        if due_ns < self.next_due_ns or not self.next_due_ns:
            self.next_due_ns = due_ns
        if self._full:
            self._held[frame_id] = packed, time.monotonic_ns()
        else:
            self._write(packed)
        return frame_id, pending

    def cancel(self, frame_id: int) -> None:
        """The caller has left: tell the replica, if it knows of the ask."""
        held = self._held.pop(frame_id, None) is not None
        if self._forget(frame_id) is not None and not held and self._transport is not None:
            self._write(pack_signal(FrameKind.CANCEL, frame_id))
        if not self.usable:
            self._close_when_answered()

    def expire(self, now_ns: int) -> int:
        """End what is past its deadline with ``TimeoutError``; how many that were."""
        if not self.next_due_ns or now_ns < self.next_due_ns:
            return 0
        late = [key for key, pending in self._pending.items() if pending.due_ns <= now_ns]
        for frame_id in late:
            pending = self._pending[frame_id]
            self.cancel(frame_id)
            if not pending.future.done():
                pending.future.set_exception(TimeoutError())
        self.next_due_ns = min((p.due_ns for p in self._pending.values()), default=0)
        self.faults += len(late)
        return len(late)

    def eject(self, now_ns: int) -> bool:
        """Put the replica aside for a while if it timed out or failed again and again."""
        if self.faults < FAULTS_MAX or now_ns < self.ejected_until_ns:
            return False
        self.faults = 0
        seconds = min(EJECT_S_MAX, EJECT_S_MIN * 2 ** min(self.ejections, 10))
        self.ejections += 1
        self.ejected_until_ns = now_ns + int(seconds * 1e9)
        _log.warning("replica_ejected", address=self.address, seconds=seconds)
        return True

    def pass_over(self, target: str, now_ns: int) -> None:
        """It refused what another then answered: for a while that is asked of others."""
        until_ns, seconds = self.passed_over.get(target, (0, PASS_OVER_S_MIN / 2))
        if now_ns < until_ns:
            return
        if len(self.passed_over) >= PASSED_OVER_MAX:
            self.passed_over.clear()
        seconds = min(PASS_OVER_S_MAX, seconds * 2)
        self.passed_over[target] = now_ns + int(seconds * 1e9), seconds

    def takes(self, target: str, now_ns: int) -> bool:
        """Whether that may be asked of it, as far as is known."""
        return self.passed_over.get(target, (0, 0.0))[0] <= now_ns

    def _forget(self, frame_id: int) -> Pending | None:
        pending = self._pending.pop(frame_id, None)
        if pending is not None:
            self.rows -= pending.rows
            self.bytes -= pending.size
        return pending

    def _write(self, packed: bytes) -> None:
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(packed)
        if len(self._out) >= ASKS_A_WRITE:
            self._flush()

    def _flush(self) -> None:
        out, self._out = self._out, []
        if out and self._transport is not None:
            self._transport.write(out[0] if len(out) == 1 else b"".join(out))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are none of asyncio's classes, but do what theirs do.
        self._transport = cast("asyncio.Transport", transport)
        self._reader = FrameReader()
        self._lost.clear()
        self._settled.clear()
        self._behind_since_s = None
        if self.leaving:  # its address went while it connected
            self._transport.close()
        elif self._parts.scheme == "unix":
            self._settle()
        else:
            self._transport.write(pack_hello(self._service_token))

    def _settle(self) -> None:
        self.usable = not self.leaving
        self._settled.set()

    def pause_writing(self) -> None:
        self._behind_since_s = self._loop.time()

    def resume_writing(self) -> None:
        self._behind_since_s = None
        now_ns = time.monotonic_ns()
        while self._held and not self._full and self._transport is not None:
            frame_id = next(iter(self._held))
            packed, since_ns = self._held.pop(frame_id)
            pending = self._pending[frame_id]
            pending.held_ns = now_ns - since_ns
            left_ms = (pending.due_ns - now_ns) // 1_000_000
            if left_ms > 0:
                self._transport.write(with_remaining(packed, left_ms))

    def data_received(self, data: bytes) -> None:
        if self._behind_since_s is not None:
            self._answered_s = self._loop.time()
        try:
            for kind, frame_id, payload in self._reader.feed(data):
                if kind == FrameKind.ANSWER:
                    pending = self._forget(frame_id)
                    if pending is not None and not pending.future.done():
                        self._take(pending, unpack_answer(payload))
                elif kind == FrameKind.HELLO:
                    if frame_id != PROTOCOL:
                        raise FrameError(f"it speaks protocol {frame_id}; here it is {PROTOCOL}")
                    self._settle()
                elif kind == FrameKind.GOAWAY:
                    self.usable = False
                    self._close_when_answered()
                else:
                    raise FrameError(f"a replica sent a frame of kind {kind}")
        except FrameError as broken:
            _log.warning("replica_frames_broken", address=self.address, reason=str(broken))
            assert self._transport is not None
            self._transport.abort()
            return
        if not self.usable:
            self._close_when_answered()

    def _take(self, pending: Pending, answer: Answer) -> None:
        if answer.status == FAILED:
            self.faults += 1
        else:
            self.faults = self.ejections = 0
        pending.future.set_result(answer)

    def _close_when_answered(self) -> None:
        if not self._pending and self._transport is not None:
            self._flush()
            self._transport.close()

    def connection_lost(self, _: Exception | None) -> None:
        self.usable = False
        self._transport = None
        self._held.clear()
        self.passed_over.clear()
        pending, self._pending = self._pending, {}
        self.rows = self.bytes = 0
        for each in pending.values():
            if not each.future.done():
                each.future.set_exception(ReplicaLost(self.address))
        self._lost.set()
        self._settled.set()

    async def keep_connected(self) -> None:
        """Connect and reconnect until ``leaving``; run it as a task."""
        delay_s = RECONNECT_S_MIN
        while not self.leaving:
            connected = await self._connect()
            self.tried.set()
            if connected:
                delay_s = RECONNECT_S_MIN
                await self._lost.wait()
            else:
                await asyncio.sleep(delay_s)
                delay_s = min(delay_s * 2, RECONNECT_S_MAX)

    async def _connect(self) -> bool:
        """Whether there is a connection now that can be used."""
        parts, met = self._parts, False
        try:
            async with asyncio.timeout(CONNECT_S):
                if parts.scheme == "unix":
                    await self._loop.create_unix_connection(lambda: self, parts.path)
                else:
                    host, port = parts.hostname or "127.0.0.1", parts.port or 0
                    await self._loop.create_connection(lambda: self, host, port)
                met = True
                await self._settled.wait()
        except (OSError, TimeoutError):
            if self._transport is not None and not self._settled.is_set():
                self._transport.abort()
        # Also one that was made in the moment in which its time was over.
        connected = self._settled.is_set() and self._transport is not None
        refused = met and not connected
        if refused and not self._told_refused:
            _log.warning("replica_takes_no_asks", address=self.address)
        self._told_refused = refused
        return connected

    def leave(self) -> None:
        """No new asks; the connection closes when the last answer has come."""
        self.leaving, self.usable = True, False
        self._close_when_answered()

    def abort(self) -> None:
        """Close now."""
        self.leaving, self.usable = True, False
        if self._transport is not None:
            self._transport.abort()
