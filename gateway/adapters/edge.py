"""What all connections of the edge share: limits, the verbs behind the fast lane, the sweep."""

import contextvars
import os
import random
import secrets
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import orjson
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from contracts.frames import is_sampled
from contracts.problems import PROBLEM_MEDIA_TYPE, ProblemCode
from gateway.domain.exchange import Question, Reply, trace_of
from gateway.domain.head import Fault, HeadLimits
from gateway.domain.open_inference import InferHead
from gateway.metrics import CONNECTIONS, REFUSED, REQUESTS
from kit.clock import Clock
from kit.logs import LineBudget, get_logger
from kit.problems import Problem, problem_body

_log = get_logger(__name__)

HOSTS_MAX = 64
TRACED_LINES_PER_S_MAX = 50
"""Callers choose what they trace; the log is not theirs to fill."""
FAULT_LINES_PER_S_MAX = 50
"""A line costs as much as a prediction: under overload refusals would leave no time for answers."""


@dataclass(frozen=True, slots=True)
class EdgeTimes:
    """Seconds that a connection may take for its parts."""

    head_s_max: float = 10.0
    idle_s_max: float = 20.0
    idle_v2_s_max: float = 75.0
    """Inference clients keep their connections for 65 s."""
    body_bytes_per_s_min: float = 1024.0
    body_grace_s: float = 5.0
    """Before this a body's rate says nothing."""
    write_stall_s_max: float = 30.0


class Connection(Protocol):
    """What the sweep needs of a connection."""

    def check(self, now_s: float) -> None:
        """Close the connection if it takes too long."""


class Edge:
    """Shared by every connection of one process."""

    def __init__(
        self,
        predict: Callable[[Question], Awaitable[Reply]],
        infer: Callable[[Question, InferHead], Awaitable[Reply]],
        limits: HeadLimits,
        times: EdgeTimes,
        clock: Clock,
        *,
        connections_max: int,
        bodies_bytes_max: int,
        access_log_share: float,
        refuse: Callable[[Question], Reply | None] = lambda _question: None,
        fast_lane: bool = True,
    ) -> None:
        self.predict = predict
        self.infer = infer
        self.refuse = refuse
        """Asked before a prediction is begun: a reply is the answer, and nothing is begun."""
        self.limits = limits
        self.times = times
        self.fast_lane = fast_lane
        self.connections_max = connections_max
        self.connections: set[Connection] = set()
        self.bodies_bytes_max = bodies_bytes_max
        self.bodies_bytes = 0
        """What bodies that are being read take: whoever sends one has proven nothing yet."""
        self.hosts: set[bytes] = set()
        """Values of Host that were found sound: the fast lane knows no others."""
        self.context = contextvars.copy_context()
        """Of errands: what logs say of this process."""
        self._traced_lines = LineBudget(TRACED_LINES_PER_S_MAX)
        self._fault_lines = LineBudget(FAULT_LINES_PER_S_MAX)
        self.request_ids = _request_ids(clock)
        self._access_log_share = access_log_share
        self._date: object = None
        self._date_lines = b""
        CONNECTIONS.set_function(lambda: len(self.connections))

    def sweep(self, now_s: float) -> None:
        """Close what takes too long. Run it once a second."""
        for connection in list(self.connections):
            connection.check(now_s)

    def know_host(self, host: bytes) -> None:
        """A sound value of Host."""
        if len(self.hosts) >= HOSTS_MAX:
            self.hosts.clear()  # whoever is called by a true name is back with the next request
        self.hosts.add(host)

    def log_access(self, status: int, question: Question, path: str, seconds: float) -> None:
        """One line for a sample of sound answers, for faults of ours, and for sampled traces."""
        sampled = random.random() < self._access_log_share  # noqa: S311
        if status >= 500:
            sampled = self._fault_lines.take()
        if not sampled and question.preamble.traceparent is None:
            return
        trace = trace_of(question.preamble.traceparent, question.request_id)
        if sampled or (is_sampled(trace) and self._traced_lines.take()):
            _log.info(
                "answered", status=status, request_id=question.request_id, path=path,
                principal=question.preamble.principal, ms=round(seconds * 1000, 3),
                **({"traceparent": trace} if trace else {}),
            )  # fmt: skip

    def render(
        self, reply: Reply, request_id: str, default: list[tuple[bytes, bytes]], *, keep_alive: bool
    ) -> bytes:
        """The whole answer as bytes; ``default`` are the server's headers of this second."""
        if default is not self._date:
            self._date = default
            self._date_lines = b"".join([b"%s: %s\r\n" % pair for pair in default])
        return b"%b%b%bcontent-length: %d\r\nx-request-id: %b\r\n%b%b" % (
            STATUS_LINE[reply.status],
            self._date_lines,
            b"".join([b"%s: %s\r\n" % pair for pair in reply.headers]),
            len(reply.body),
            request_id.encode(),
            b"\r\n" if keep_alive else b"connection: close\r\n\r\n",
            reply.body,
        )

    def refusal(
        self, fault: Fault, target: bytes, default: list[tuple[bytes, bytes]], instance: str = ""
    ) -> bytes:
        """The answer to what is not even a request, or to a body that is not taken; the connection
        closes after it. ``instance`` is the path, where the head was sound."""
        code, detail = fault
        request_id = secrets.token_hex(16)
        REFUSED.add((code.value,))
        REQUESTS.add(("edge", code.status))
        reply = _fault_reply(Problem(code, detail), request_id, target, instance)
        return self.render(reply, request_id, default, keep_alive=False)

    @staticmethod
    def failure(request_id: str, path: str) -> Reply:
        """The answer to a call that failed by our fault."""
        return _fault_reply(OURS, request_id, path.encode(), path)


def _fault_reply(problem: Problem, request_id: str, target: bytes, instance: str = "") -> Reply:
    """A problem, or an error text where the Open Inference Protocol is spoken."""
    headers = problem.headers()
    if target.startswith(b"/v2"):
        body = orjson.dumps({"error": problem.detail})
        headers["content-type"] = "application/json"
    else:
        body = problem_body(problem, request_id, instance)
        headers["content-type"] = PROBLEM_MEDIA_TYPE
    pairs = tuple((name.encode(), value.encode()) for name, value in headers.items())
    return Reply(problem.code.status, body, pairs)


def _request_ids(clock: Clock) -> Iterator[str]:
    """32 hexadecimal digits: the time in ms when a block of them was made (48 bits), then random.

    Those of one time lie together in the monitor's index of what was served: with random ones each
    row is a page of its own there (10 µs a row instead of 4 at 150,000 rows). A block, because one
    number from the system takes 2 µs.
    """
    while True:
        block = os.urandom(4000).hex()
        time_ms = f"{clock.wall_us() // 1000:012x}"
        for at in range(0, 8000, 20):
            yield time_ms + block[at : at + 20]


OURS = Problem(ProblemCode.INTERNAL, "This is our fault; the logs know more.")
FULL: Fault = (ProblemCode.OVERLOADED, "The gateway has as many connections as it may.")
CROWDED: Fault = (ProblemCode.OVERLOADED, "As many large bodies are being read as may be.")
SLOW_HEAD: Fault = (ProblemCode.REQUEST_TIMEOUT, "The head did not arrive in time.")
SLOW_BODY: Fault = (ProblemCode.REQUEST_TIMEOUT, "The body did not arrive in time.")
UNREADABLE: Fault = (ProblemCode.MALFORMED_HTTP, "This is not HTTP/1.1 as RFC 9112 has it.")
