"""Asks for predictions as fast as a number of callers can, or at a given rate.

*Closed loop*: each caller asks again when it is answered. *Open loop*: requests are due at random
instants (exponential gaps) whatever the answers do; a latency counts from the instant at which the
request was due, so that a stall is seen by all who would have come (no coordinated omission). How
late each was sent is kept beside it: that part is this generator's, or of its too few connections.

A thread with plain sockets and a selector: a third of what asyncio's streams of callbacks cost.
"""

import asyncio
import random
import selectors
import socket
import threading
import time
from array import array
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

CALLERS_MAX = 4096
CONNECT_S_MAX = 5.0
ACCEPTED_S = 0.0003
"""A connection: a server takes so long to begin one, and its first requests shall not wait for the
beginnings of others."""
READ_BYTES = 64 * 1024
"""At once. A larger buffer comes from the system and goes back to it each time: 18 µs a read, not 3
(glibc 2.36 from 128 KiB on)."""
LOOK_S = 0.05
"""The longest sleep: progress is shown, and the end seen, so often at least."""


def _seconds() -> "array[float]":
    return array("d")


@dataclass(slots=True)
class Outcome:
    """What one run saw. ``latencies_s`` and ``refused_s`` count from when a request was due."""

    seconds: float = 0.0
    latencies_s: "array[float]" = field(default_factory=_seconds)
    """Of all answers but refusals."""
    refused_s: "array[float]" = field(default_factory=_seconds)
    """Of answers 4xx and 503, which cost no prediction: how fast a refusal was."""
    latencies_from_sent_s: "array[float]" = field(default_factory=_seconds)
    refused_from_sent_s: "array[float]" = field(default_factory=_seconds)
    sent_late_s: "array[float]" = field(default_factory=_seconds)
    """Of every answered request: from when it was due to when it was sent."""
    statuses: Counter[int] = field(default_factory=Counter)
    due: int = 0
    """Open loop: how many requests were due."""
    dropped: int = 0
    """Open loop: due, but every caller was busy and the backlog full."""
    broken: int = 0
    """Connections that ended before the answer."""

    @property
    def requests_per_s(self) -> float:
        """Answers of any kind."""
        return sum(self.statuses.values()) / self.seconds if self.seconds else 0.0

    @property
    def goodput_per_s(self) -> float:
        """Answers with 200."""
        return self.statuses[200] / self.seconds if self.seconds else 0.0

    def count(self, status: int, due_s: float, sent_s: float, now_s: float) -> None:
        """Count one answer."""
        self.statuses[status] += 1
        self.sent_late_s.append(sent_s - due_s)
        if 400 <= status < 500 or status == 503:
            self.refused_s.append(now_s - due_s)
            self.refused_from_sent_s.append(now_s - sent_s)
        else:
            self.latencies_s.append(now_s - due_s)
            self.latencies_from_sent_s.append(now_s - sent_s)


Show = Callable[[float, Outcome], None]
"""(share of the time passed, outcome so far): draws the progress. Called in the run's thread."""


class _Caller:
    """One connection; asks one thing at a time."""

    __slots__ = ("buffer", "due_s", "sent_s", "socket", "unsent")

    def __init__(self, host: str, port: int) -> None:
        self.socket = socket.create_connection((host, port), CONNECT_S_MAX)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.buffer = b""
        self.unsent = b""
        self.due_s: float | None = None
        self.sent_s = 0.0

    def send(self, request: bytes) -> bool:
        """Send what the system takes; False: the rest stays in ``unsent``. Raises ``OSError``."""
        try:
            sent = self.socket.send(request)
        except BlockingIOError:
            sent = 0
        self.unsent = request[sent:]
        return not self.unsent

    def read(self) -> int:
        """The status of a whole answer, 0 for none yet. Raises ``OSError`` at the end."""
        data = self.socket.recv(READ_BYTES)
        if not data:
            raise ConnectionResetError
        buffer = self.buffer = self.buffer + data if self.buffer else data
        head_end = buffer.find(b"\r\n\r\n")
        if head_end < 0:
            return 0
        head = buffer[:head_end].lower()
        mark = head.find(b"content-length:")
        end = head_end + 4 + int(head[mark + 15 :].partition(b"\r\n")[0])
        if len(buffer) < end:
            return 0
        self.buffer = buffer[end:]
        return int(head[9:12])


class _Run:
    """One run of either kind."""

    def __init__(
        self, requests: Sequence[bytes], rate: float | None, over: threading.Event
    ) -> None:
        self.outcome = Outcome()
        self._over = over
        self._requests = requests
        self._at = 0
        self._rate = rate
        self._due_s = 0.0
        self._backlog: deque[float] = deque()
        self._idle: list[_Caller] = []
        self._callers: set[_Caller] = set()
        self._selector = selectors.DefaultSelector()

    def __call__(self, url: str, callers: int, seconds: float, progress: Show) -> None:
        """Connect, ask for so long, hang up. Raises ``OSError`` when nothing listens."""
        try:
            self._connect(url, callers)
            began_s = time.perf_counter()
            self._begin(began_s)
            shown_s = 0.0
            while not self._over.is_set() and self._callers:
                now_s = time.perf_counter()
                if now_s >= began_s + seconds:
                    break
                if now_s > shown_s + LOOK_S:
                    shown_s = now_s
                    progress((now_s - began_s) / seconds, self.outcome)
                self._turn(now_s)
            self.outcome.seconds = time.perf_counter() - began_s
        finally:
            for caller in self._callers:
                caller.socket.close()
            self._selector.close()

    def _connect(self, url: str, callers: int) -> None:
        parts = urlsplit(url)
        for _ in range(callers):
            caller = _Caller(parts.hostname or "127.0.0.1", parts.port or 80)
            self._callers.add(caller)
            self._idle.append(caller)
            self._selector.register(caller.socket, selectors.EVENT_READ, caller)
        time.sleep(callers * ACCEPTED_S)

    def _begin(self, now_s: float) -> None:
        if self._rate is not None:
            self._due_s = now_s + random.expovariate(self._rate)
            return
        idle, self._idle = self._idle, []
        for caller in idle:
            self._ask(caller, time.perf_counter())

    def _turn(self, now_s: float) -> None:
        """Send what is due, then read what has come, or wait for the first of both."""
        sleep_s = LOOK_S
        if self._rate is not None:
            self._send_due(now_s, self._rate)
            sleep_s = min(sleep_s, max(0.0, self._due_s - time.perf_counter()))
        for key, events in self._selector.select(sleep_s):
            caller: _Caller = key.data
            try:
                if events & selectors.EVENT_WRITE and caller.send(caller.unsent):
                    self._selector.modify(caller.socket, selectors.EVENT_READ, caller)
                if events & selectors.EVENT_READ and (status := caller.read()):
                    self._answered(caller, status)
            except OSError:
                self._lost(caller)

    def _send_due(self, now_s: float, rate: float) -> None:
        backlog_max = int(rate * 2) + 100
        while self._due_s <= now_s:
            self.outcome.due += 1
            if self._idle:
                self._ask(self._idle.pop(), self._due_s)
            elif len(self._backlog) < backlog_max:
                self._backlog.append(self._due_s)
            else:
                self.outcome.dropped += 1
            self._due_s += random.expovariate(rate)

    def _ask(self, caller: _Caller, due_s: float) -> None:
        """The next request of the round, by this caller."""
        self._at = (self._at + 1) % len(self._requests)
        caller.due_s, caller.sent_s = due_s, time.perf_counter()
        try:
            if not caller.send(self._requests[self._at]):
                both = selectors.EVENT_READ | selectors.EVENT_WRITE
                self._selector.modify(caller.socket, both, caller)
        except OSError:
            self._lost(caller)

    def _answered(self, caller: _Caller, status: int) -> None:
        now_s = time.perf_counter()
        assert caller.due_s is not None
        self.outcome.count(status, caller.due_s, caller.sent_s, now_s)
        caller.due_s = None
        if self._rate is None:
            self._ask(caller, now_s)
        elif self._backlog:
            self._ask(caller, self._backlog.popleft())
        else:
            self._idle.append(caller)

    def _lost(self, caller: _Caller) -> None:
        self.outcome.broken += caller.due_s is not None
        self._callers.discard(caller)
        if caller in self._idle:
            self._idle.remove(caller)
        self._selector.unregister(caller.socket)
        caller.socket.close()


async def run_load(
    url: str,
    key: str,
    bodies: Sequence[bytes],
    *,
    seconds: float,
    concurrency: int,
    rate: float | None = None,
    timeout_ms: int | None = None,
    progress: Show = lambda _share, _outcome: None,
    over: threading.Event | None = None,
) -> Outcome:
    """Load ``url`` for so long, or until ``over`` is set. With ``rate`` (requests a second) it is
    an open loop, and ``concurrency`` its number of connections. ``timeout_ms`` is the deadline that
    each request names. Raises ``OSError`` when nothing listens."""
    over = over or threading.Event()
    run = _Run([_request(url, key, body, timeout_ms) for body in bodies], rate, over)
    try:
        await asyncio.to_thread(run, url, min(concurrency, CALLERS_MAX), seconds, progress)
    except asyncio.CancelledError:
        over.set()
        raise
    return run.outcome


def _request(url: str, key: str, body: bytes, timeout_ms: int | None) -> bytes:
    parts = urlsplit(url)
    deadline = f"X-Request-Timeout-Ms: {timeout_ms}\r\n" if timeout_ms is not None else ""
    head = (
        f"POST {parts.path or '/'} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
        f"Authorization: Bearer {key}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n{deadline}\r\n"
    )
    return head.encode() + body
