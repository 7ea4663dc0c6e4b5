"""Asks for predictions as fast as a number of callers can, or at a given rate.

*Closed loop*: each caller asks again when it is answered. *Open loop*: requests are due at random
instants (exponential gaps) whatever the answers do; a latency counts from the instant at which the
request was due, so that a stall is seen by all who would have come (no coordinated omission).
"""

import asyncio
import random
import time
from array import array
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import urlsplit

CALLERS_MAX = 1024


@dataclass(slots=True)
class Outcome:
    """What one run saw. Latencies are seconds, of every answered request."""

    seconds: float = 0.0
    latencies_s: "array[float]" = field(default_factory=lambda: array("d"))
    statuses: Counter[int] = field(default_factory=Counter)
    refused_s: "array[float]" = field(default_factory=lambda: array("d"))
    """Of answers 429 and 503: how fast a refusal was."""
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


Show = Callable[[float, Outcome], None]
"""(share of the time passed, outcome so far): draws the progress."""


class _Caller(asyncio.Protocol):
    """One connection; asks one thing at a time."""

    def __init__(self, run: "_Run") -> None:
        self._run = run
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._due_s: float | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def ask(self, request: bytes, due_s: float) -> None:
        """Send; the answer is counted from ``due_s``."""
        assert self._transport is not None
        self._due_s = due_s
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head_end = self._buffer.find(b"\r\n\r\n")
        if head_end < 0:
            return
        head = self._buffer[:head_end].lower()
        mark = head.find(b"content-length:")
        length = int(head[mark + 15 :].partition(b"\r\n")[0])
        if len(self._buffer) < head_end + 4 + length:
            return
        self._buffer = self._buffer[head_end + 4 + length :]
        due_s, self._due_s = self._due_s, None
        assert due_s is not None
        self._run.answered(self, int(head[9:12]), time.perf_counter() - due_s)

    def connection_lost(self, _: Exception | None) -> None:
        self._run.lost(self, asking=self._due_s is not None)

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.abort()


class _Run:
    """One run of either kind."""

    def __init__(self, requests: Sequence[bytes], *, closed: bool) -> None:
        self.outcome = Outcome()
        self.idle: list[_Caller] = []
        self.callers: set[_Caller] = set()
        self.backlog: deque[float] = deque()
        self._requests = requests
        self._closed = closed
        self._at = 0
        self.over = False

    def ask(self, caller: _Caller, due_s: float) -> None:
        """The next request of the round, by this caller."""
        self._at = (self._at + 1) % len(self._requests)
        caller.ask(self._requests[self._at], due_s)

    def answered(self, caller: _Caller, status: int, seconds: float) -> None:
        """Count an answer, and go on."""
        self.outcome.statuses[status] += 1
        kept = self.outcome.refused_s if status in (429, 503) else self.outcome.latencies_s
        kept.append(seconds)
        if self.over:
            return
        if self._closed:
            self.ask(caller, time.perf_counter())
        elif self.backlog:
            self.ask(caller, self.backlog.popleft())
        else:
            self.idle.append(caller)

    def lost(self, caller: _Caller, *, asking: bool) -> None:
        """A connection has ended."""
        self.callers.discard(caller)
        if not self.over:
            self.outcome.broken += asking
            if caller in self.idle:
                self.idle.remove(caller)


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
) -> Outcome:
    """Load ``url`` for so long. With ``rate`` (requests a second) it is an open loop, and
    ``concurrency`` its number of connections. ``timeout_ms`` is the deadline that each request
    names. Raises ``OSError`` when nothing listens."""
    run = _Run([_request(url, key, body, timeout_ms) for body in bodies], closed=rate is None)
    await _connect(run, url, min(concurrency, CALLERS_MAX))
    began_s = time.perf_counter()
    if rate is None:
        for caller in run.idle:
            run.ask(caller, time.perf_counter())
        run.idle = []
        while (passed_s := time.perf_counter() - began_s) < seconds and run.callers:
            progress(passed_s / seconds, run.outcome)
            await asyncio.sleep(min(0.1, seconds - passed_s))
    else:
        await _open_loop(run, rate, began_s, seconds, progress)
    run.outcome.seconds = time.perf_counter() - began_s
    run.over = True
    await asyncio.sleep(0)
    outcome = run.outcome
    for caller in list(run.callers):
        caller.close()
    await asyncio.sleep(0)
    return outcome


async def _connect(run: _Run, url: str, callers: int) -> None:
    parts, loop = urlsplit(url), asyncio.get_running_loop()
    host, port = parts.hostname or "127.0.0.1", parts.port or 80
    for _ in range(callers):
        _, caller = await loop.create_connection(lambda: _Caller(run), host, port)
        run.callers.add(caller)
        run.idle.append(caller)


async def _open_loop(
    run: _Run,
    rate: float,
    began_s: float,
    seconds: float,
    progress: Callable[[float, Outcome], None],
) -> None:
    backlog_max = int(rate * 2) + 100
    due_s = began_s + random.expovariate(rate)
    while (now_s := time.perf_counter()) < began_s + seconds and run.callers:
        while due_s <= now_s:
            if run.idle:
                run.ask(run.idle.pop(), due_s)
            elif len(run.backlog) < backlog_max:
                run.backlog.append(due_s)
            else:
                run.outcome.dropped += 1
            due_s += random.expovariate(rate)
        progress((now_s - began_s) / seconds, run.outcome)
        await asyncio.sleep(min(max(0.0, due_s - time.perf_counter()), 0.05))


def _request(url: str, key: str, body: bytes, timeout_ms: int | None) -> bytes:
    parts = urlsplit(url)
    deadline = f"X-Request-Timeout-Ms: {timeout_ms}\r\n" if timeout_ms is not None else ""
    head = (
        f"POST {parts.path or '/'} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
        f"Authorization: Bearer {key}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n{deadline}\r\n"
    )
    return head.encode() + body
