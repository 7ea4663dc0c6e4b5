"""Listens for the gateway's frames; everything that one event-loop turn brings is one batch."""

import asyncio
import contextlib
import hmac
import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import cast
from urllib.parse import urlsplit

import orjson

from contracts.frames import (
    ANSWER_BYTES_MAX,
    HELLO_BYTES_MAX,
    PROTOCOL,
    Answer,
    FrameError,
    FrameKind,
    FrameReader,
    pack_answer,
    pack_hello,
    pack_signal,
    unpack_ask,
)
from contracts.problems import ProblemCode
from inference.domain.asked import Arrival
from kit.clock import Clock
from kit.logs import LineBudget, get_logger
from kit.problems import Problem, problem_body

_log = get_logger(__name__)
Submit = Callable[[Sequence[Arrival]], None]
_HELD_BACK_NS_MAX = 300_000
"""An answer waits for others to be written with, but not for models to run: the gateway would have
nothing to do meanwhile."""
_OUT_BYTES_MAX = 64 * 1024 * 1024
"""Answers that a peer does not read; beyond it the connection is given up after a while."""
UNREAD_S_MAX = 5.0
HELLO_S_MAX = 5.0
"""A connection that has not proven itself by then is closed."""
_STRANGERS_PER_S_MAX = 5
TOO_LONG = Problem(
    ProblemCode.CONTENT_TOO_LARGE,
    f"The answer would have more than {ANSWER_BYTES_MAX} bytes: ask for less at a time.",
)


class FramesListener:
    """Accepts connections of gateways and hands their asks on, whole turns at a time."""

    def __init__(
        self,
        address: str,
        *,
        clock: Clock,
        predict: Submit,
        infer: Submit,
        service_token: str = "",
        delay_us: int = 0,
    ) -> None:
        self._address = urlsplit(address)
        self._token = service_token.encode()
        self._strangers = LineBudget(_STRANGERS_PER_S_MAX)
        self._clock = clock
        self._delay_s = delay_us / 1e6
        self._submit = {FrameKind.PREDICT: predict, FrameKind.INFER: infer}
        self._turn: dict[int, list[Arrival]] = {FrameKind.PREDICT: [], FrameKind.INFER: []}
        self._scheduled = False
        self._saying_goodbye = False
        self._server: asyncio.Server | None = None
        self.connections: set[FramesConnection] = set()

    async def start(self) -> None:
        """Listen; a socket that a dead process left behind is replaced."""
        loop = asyncio.get_running_loop()

        def make() -> "FramesConnection":
            return FramesConnection(self, loop)

        if self._address.scheme == "unix":
            path = self._address.path
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            self._server = await loop.create_unix_server(make, path, backlog=256)
            os.chmod(path, 0o600)
        else:
            host, port = self._address.hostname or "127.0.0.1", self._address.port or 0
            self._server = await loop.create_server(make, host, port, backlog=256)

    @property
    def address(self) -> str:
        """Where it listens, with the port that the system chose."""
        if self._address.scheme == "unix" or self._server is None:
            return self._address.geturl()
        host, port = self._server.sockets[0].getsockname()[:2]
        return f"tcp://{host}:{port}"

    @property
    def proven_by_place(self) -> bool:
        """Whether only who may ask can connect at all: a socket file's mode sees to it."""
        return self._address.scheme == "unix"

    def proves(self, token: bytes) -> bool:
        """Whether that is the service token; an empty one proves nothing."""
        return bool(self._token) and hmac.compare_digest(token, self._token)

    def tell_of_stranger(self, why: str) -> None:
        """A connection was closed that had not proven itself."""
        if self._strangers.take():
            _log.warning("frames_stranger", reason=why)

    @property
    def in_flight(self) -> int:
        """Asks that wait for their answer."""
        return sum(len(connection.open) for connection in self.connections)

    def say_goodbye(self) -> None:
        """Tell every gateway to ask elsewhere; take no new connection."""
        if self._saying_goodbye:
            return
        self._saying_goodbye = True
        if self._server is not None:
            self._server.close()
        for connection in list(self.connections):
            connection.say_goodbye()

    async def drain(self, seconds: float) -> None:
        """Say goodbye, answer what is open, close."""
        self.say_goodbye()
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        # An ask that crossed the GOAWAY on its way is still taken.
        await asyncio.sleep(min(0.05, seconds))
        while self.in_flight and loop.time() < until:  # noqa: ASYNC110 - happens once, at the end
            await asyncio.sleep(0.01)
        for connection in list(self.connections):
            connection.close()
        while self.connections and loop.time() < until:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.01)

    def take(self, kind: int, arrival: Arrival) -> None:
        """Add one ask to this turn's batch."""
        self._turn[kind].append(arrival)
        if not self._scheduled:
            self._scheduled = True
            loop = asyncio.get_running_loop()
            if self._delay_s:
                loop.call_later(self._delay_s, self._hand_on)
            else:
                loop.call_soon(self._hand_on)

    def _hand_on(self) -> None:
        self._scheduled = False
        for kind, submit in self._submit.items():
            arrivals = self._turn[kind]
            if arrivals:
                self._turn[kind] = []
                submit(arrivals)

    def now_ns(self) -> int:
        return self._clock.monotonic_ns()


class FramesConnection(asyncio.Protocol):
    """One gateway."""

    def __init__(self, listener: FramesListener, loop: asyncio.AbstractEventLoop) -> None:
        self._listener = listener
        self._loop = loop
        self._reader = FrameReader()
        self._transport: asyncio.Transport | None = None
        self._out: list[bytes] = []
        self._out_since_ns = 0
        self._unread_since_s: float | None = None
        self._proven = listener.proven_by_place
        self._unproven_bytes = 0
        self.open: dict[int, Arrival] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        self._listener.connections.add(self)
        if not self._proven:
            self._loop.call_later(HELLO_S_MAX, self._give_up_stranger)

    def _give_up_stranger(self) -> None:
        if not self._proven and self._transport is not None:
            self._close_stranger("It said nothing.")

    def _close_stranger(self, why: str) -> None:
        self._listener.tell_of_stranger(why)
        self.close()

    def _meet(self, data: bytes) -> None:
        """Take a HELLO and nothing else: asks come once it has been answered."""
        self._unproven_bytes += len(data)
        try:
            for kind, protocol, token in self._reader.feed(data):
                if kind != FrameKind.HELLO or self._proven:
                    raise FrameError("It asked before it had said HELLO and was answered.")
                if protocol != PROTOCOL:
                    raise FrameError(f"It speaks protocol {protocol}; here it is {PROTOCOL}.")
                if not self._listener.proves(token):
                    raise FrameError("It does not know the service token.")
                self._proven = True
            if not self._proven and self._unproven_bytes > HELLO_BYTES_MAX:
                raise FrameError("It said much, but not HELLO.")
        except FrameError as strange:
            self._close_stranger(str(strange))
            return
        if self._proven and self._transport is not None:
            self._transport.write(pack_hello())

    def data_received(self, data: bytes) -> None:
        if not self._proven:
            self._meet(data)
            return
        now_ns = self._listener.now_ns()
        try:
            for kind, frame_id, payload in self._reader.feed(data):
                if kind in (FrameKind.PREDICT, FrameKind.INFER):
                    arrival = Arrival(
                        unpack_ask(payload), now_ns, partial(self.send, frame_id, kind)
                    )
                    self.open[frame_id] = arrival
                    self._listener.take(kind, arrival)
                elif kind == FrameKind.CANCEL:
                    left = self.open.pop(frame_id, None)
                    if left is not None:
                        left.wanted = False
                else:
                    raise FrameError(f"a frame of kind {kind} from the asking side")
        except FrameError as broken:
            _log.warning("frames_broken", reason=str(broken))
            self.close()

    def send(self, frame_id: int, kind: int, answer: Answer) -> None:
        """Queue an answer for a write that it shares with others of this turn."""
        arrival = self.open.pop(frame_id, None)
        if arrival is None or self._transport is None:
            return
        if len(answer.body) > ANSWER_BYTES_MAX:
            answer = _too_long(kind, arrival)
        now_ns = self._listener.now_ns()
        if not self._out:
            self._loop.call_soon(self._flush)
            self._out_since_ns = now_ns
        spent_us = (now_ns - arrival.arrived_ns) // 1000
        self._out.append(pack_answer(frame_id, answer, spent_us))
        if now_ns - self._out_since_ns > _HELD_BACK_NS_MAX:
            self._flush()

    def _flush(self) -> None:
        out, self._out = self._out, []
        if not out or self._transport is None:
            return
        self._transport.write(b"".join(out))
        since_s = self._unread_since_s
        stalled = since_s is not None and self._loop.time() - since_s > UNREAD_S_MAX
        if stalled and self._transport.get_write_buffer_size() > _OUT_BYTES_MAX:
            _log.warning("frames_peer_does_not_read")
            self._transport.abort()

    def pause_writing(self) -> None:
        self._unread_since_s = self._loop.time()

    def resume_writing(self) -> None:
        self._unread_since_s = None

    def say_goodbye(self) -> None:
        """No new asks here, please."""
        if self._transport is not None:
            self._transport.write(pack_signal(FrameKind.GOAWAY))

    def close(self) -> None:
        """Write what is queued, then close."""
        if self._transport is not None:
            if self._out:
                self._flush()
            self._transport.close()

    def connection_lost(self, _: Exception | None) -> None:
        self._transport = None
        for arrival in self.open.values():
            arrival.wanted = False
        self.open.clear()
        self._listener.connections.discard(self)


def _too_long(kind: int, arrival: Arrival) -> Answer:
    status = TOO_LONG.code.status
    if kind == FrameKind.INFER:
        body = orjson.dumps({"error": TOO_LONG.detail})
        return Answer(status, body, headers=b"content-type: application/json")
    headers = "\n".join(f"{name}: {value}" for name, value in TOO_LONG.headers().items())
    body = problem_body(TOO_LONG, arrival.ask.request_id.hex(), "/predict")
    return Answer(status, body, headers=headers.encode(), rows=arrival.rows)
