"""How a connection of the edge is bounded, and how it ends: one too many, slow, refused, drained.

What is read on it, and who answers, is ``edge_httptools``'s.
"""

import asyncio
from typing import Any
from urllib.parse import unquote

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway.adapters.edge import CROWDED, FULL, SLOW_BODY, SLOW_HEAD, Edge
from gateway.adapters.presence import Presence
from gateway.domain.head import Fault
from kit.one_write import Gathering

IDLE, HEAD, BODY = range(3)
"""What is read of a request."""

FREE_BODY_BYTES = 64 * 1024
"""Of each body: small questions are taken however many large ones are being read."""

DRAIN_IDLE_S = 0.5
LINGER_S_MAX = 2.0
LINGER_BYTES_MAX = 64 * 1024 * 1024
"""A refused caller may go on sending for a moment, unheard, so that it can read why."""


class Refused(Exception):
    """Leaves the parser; the connection is closing."""


class EdgeConnection(HttpToolsProtocol):
    """One client connection, whatever is asked on it."""

    def __init__(self, edge: Edge, *args: Any, **options: Any) -> None:  # uvicorn's own arguments
        super().__init__(*args, **options)
        self.edge = edge
        self.reading = IDLE
        self.since = self.loop.time()
        """From when on ``check`` counts."""
        self.body_bytes = 0
        self.body_s_max = 30.0
        self.idle_s_max = edge.times.idle_s_max
        self.url = b""
        self.path = ""
        """Of a request whose head was sound, until its body is read."""
        self.lane_fields: dict[bytes, bytes] | None = None
        """Headers of what is read, where the fast lane takes it: uvicorn has no request then."""
        self.lane_parts: list[bytes] = []
        self.holds = False
        """Whether the body is kept until it is there whole; else it is passed on as it comes."""
        self.held_bytes = 0
        """Of it, beyond what is free."""
        self.refused = self.draining = False
        self.lingering_since: float | None = None
        self.stalled_since: float | None = None
        self.gathering: Gathering
        """For ASGI answers: their heads and bodies leave in one write."""
        self.presence = Presence()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.gathering = Gathering(transport, self.loop)
        self.since = self.loop.time()
        self.edge.connections.add(self)
        if len(self.edge.connections) > self.edge.connections_max:
            self._refuse(FULL)

    def connection_lost(self, exc: Exception | None) -> None:
        self.edge.connections.discard(self)
        self._let_go()
        super().connection_lost(exc)
        self.presence.leave()

    def shutdown(self) -> None:
        # A request may be on its way on a connection that seems idle: closing now would lose it.
        # The next answer says that it is the last, and the sweep closes what stays idle.
        self.draining = True
        self.idle_s_max = DRAIN_IDLE_S
        self.since = max(self.since, self.loop.time())
        if self._answering():
            self.cycle.keep_alive = False

    def pause_writing(self) -> None:
        self.stalled_since = self.loop.time()
        super().pause_writing()

    def resume_writing(self) -> None:
        self.stalled_since = None
        super().resume_writing()

    def check(self, now_s: float) -> None:
        """Close the connection if it takes too long; called by the sweep."""
        times, waited_s = self.edge.times, now_s - self.since
        if self.lingering_since is not None:
            if now_s - self.lingering_since > LINGER_S_MAX:
                self.transport.abort()
        elif self.stalled_since is not None:
            if now_s - self.stalled_since > times.write_stall_s_max:
                self.transport.abort()
        elif self.reading == HEAD:
            if waited_s > times.head_s_max:
                self._refuse(SLOW_HEAD)
        elif self.reading == BODY:
            due = times.body_bytes_per_s_min * waited_s
            slow = waited_s > times.body_grace_s and self.body_bytes < due
            if waited_s > self.body_s_max or (slow and not self.flow.read_paused):
                self._refuse(SLOW_BODY)
        elif waited_s > self.idle_s_max and not self._answering():
            self.transport.close()

    def _hold(self) -> None:
        held = self.body_bytes - FREE_BODY_BYTES
        self.edge.bodies_bytes += held - self.held_bytes
        self.held_bytes = held
        if self.edge.bodies_bytes > self.edge.bodies_bytes_max:
            self._stop(CROWDED)

    def _let_go(self) -> None:
        self.edge.bodies_bytes -= self.held_bytes
        self.held_bytes = 0

    def _answering(self) -> bool:
        """Whether an answer is still due."""
        cycle: Any = self.cycle  # None before the first request, whatever uvicorn declares
        return cycle is not None and not cycle.response_complete

    def _stop(self, fault: Fault) -> None:
        """Refuse, out of the parser's callback. Raises ``Refused``."""
        self._refuse(fault)
        raise Refused

    def _refuse(self, fault: Fault) -> None:
        """Answer with a fault and close, unless another answer is still due on this connection."""
        if self.refused:
            return
        self.refused = True
        self._let_go()
        self.lane_parts = []
        cycle, answering = self.cycle, self._answering()
        own = self.reading == BODY and self.lane_fields is None
        if answering and not own:
            # Answers go in order: the one in progress is the last, and this fault gets none.
            cycle.keep_alive = False
            self.flow.pause_reading()
            return
        if self.transport.is_closing():
            return
        if answering:
            cycle.disconnected = True
            cycle.message_event.set()
            if self.pipeline or getattr(cycle, "response_started", False):
                self.transport.abort()
                return
        default = self.server_state.default_headers
        if answering or not own:  # else its answer was given before its body was read
            self.transport.write(self.edge.refusal(fault, self.url, default, unquote(self.path)))
        # Closing with bytes unread would reset the connection and lose the answer: say that nothing
        # more comes, and let the sweep close.
        self.lingering_since = self.loop.time()
        if self.transport.can_write_eof():
            self.transport.write_eof()

    def _leave_unheard(self, data: bytes) -> None:
        """What comes after a refusal."""
        self.body_bytes += len(data)
        if self.body_bytes > LINGER_BYTES_MAX:
            self.transport.abort()
