"""The edge: uvicorn's protocol on httptools with limits on everything, and a fast lane.

Stock uvicorn bounds neither heads nor idle or slow connections, and middleware comes too late for
that. The fast lane takes ``POST /predict`` and the Open Inference Protocol's ``infer`` from the
parser to the verb without an ASGI scope: what is special (pipelining, Expect, a slow reader) goes
the ordinary way.
"""

import asyncio
import time
from typing import Any
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from contracts.problems import ProblemCode
from gateway.adapters.edge import CROWDED, FULL, SLOW_BODY, SLOW_HEAD, UNREADABLE, Edge
from gateway.adapters.known_head import KnownHead
from gateway.adapters.lane import SPECIAL, LaneCycle, infer_head_of, is_plain_infer, is_predict
from gateway.adapters.presence import PRESENCE, Presence
from gateway.domain.access import CONTROL_BYTES_MAX, PREDICT_BYTES_MAX, rule_for
from gateway.domain.exchange import Preamble, Question, Reply, preamble_of
from gateway.domain.head import Fault, fault_in_head
from gateway.domain.open_inference import InferHead
from gateway.metrics import PREDICT_SECONDS, REQUESTS
from kit.errand import Errand
from kit.logs import get_logger
from kit.one_write import Gathering

_log = get_logger(__name__)

_IDLE, _HEAD, _BODY = range(3)
QUICK_HEAD_BYTES = 8 * 1024
"""A head that ends within so many bytes breaks no limit of heads but their number, however long its
body is."""

FRAMING_BYTES_MAX = 64 * 1024
"""What chunk sizes and extensions may take, besides as many bytes again as the body has."""

FREE_BODY_BYTES = 64 * 1024
"""Of each body: small questions are taken however many large ones are being read."""

DRAIN_IDLE_S = 0.5
LINGER_S_MAX = 2.0
LINGER_BYTES_MAX = 64 * 1024 * 1024
"""A refused caller may go on sending for a moment, unheard, so that it can read why."""


class _Refused(Exception):
    """Leaves the parser; the connection is closing."""


class EdgeProtocol(HttpToolsProtocol):
    """One client connection."""

    def __init__(self, edge: Edge, *args: Any, **options: Any) -> None:  # uvicorn's own arguments
        super().__init__(*args, **options)
        self.edge = edge
        self.reading = _IDLE
        self.since = self.loop.time()
        self.head_bytes = self.chunk_bytes = 0
        self.body_bytes = self.body_bytes_max = self.sent_bytes = 0
        self.body_s_max = 30.0
        self.holds = False
        """Whether the body is kept until it is there whole; else it is passed on as it comes."""
        self.held_bytes = 0
        """Of it, beyond what is free."""
        self.refused = self.draining = False
        self.lingering_since: float | None = None
        self.stalled_since: float | None = None
        self.idle_s_max = edge.times.idle_s_max
        self.url = b""
        self.path = ""
        """Of a request whose head was sound, until its body is read."""
        self.chunk = b""
        """What was read last, while it can be one whole message."""
        self.known_head: KnownHead | None = None
        self.gathering: Gathering
        """For ASGI answers: their heads and bodies leave in one write."""
        self.presence = Presence()
        self.lane = LaneCycle()
        self.lane_errand: Errand | None = None
        self.lane_fields: dict[bytes, bytes] | None = None
        self.lane_parts: list[bytes] = []
        self.lane_infer: InferHead | None = None
        """Of what ``lane_fields`` are of; None: a prediction."""

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
        if self.lane_errand is not None and not self.lane.response_complete:
            self.lane_errand.cancel()
        self.presence.leave()

    # Reading

    def data_received(self, data: bytes) -> None:
        if self.refused:
            self.body_bytes += len(data)
            if self.body_bytes > LINGER_BYTES_MAX:
                self.transport.abort()
            return
        if self.known_head is not None and self._take_known(self.known_head, data):
            return
        self.chunk_bytes = len(data)
        self.chunk = data if self.reading == _IDLE else b""
        if self.reading == _HEAD:
            self.head_bytes += len(data)
        elif self.reading == _BODY:
            self.sent_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._refuse(UNREADABLE)
        except httptools.HttpParserError:
            self._refuse(UNREADABLE)
        else:
            limits = self.edge.limits
            if self.reading == _HEAD and self.head_bytes > (
                limits.headers_bytes_max + limits.line_bytes_max
            ):
                detail = f"At most {limits.headers_bytes_max} bytes in all."
                self._refuse((ProblemCode.HEADERS_TOO_LARGE, detail))
            elif self.reading == _BODY and self.sent_bytes > (
                2 * self.body_bytes + FRAMING_BYTES_MAX
            ):
                self._refuse((ProblemCode.CONTENT_TOO_LARGE, "Chunks of more framing than body."))

    def _take_known(self, known: KnownHead, data: bytes) -> bool:
        """Whether this is another call under the last one's head, in the fast lane."""
        if self.reading != _IDLE or self.flow.write_paused or self._answering():
            return False
        body = known.body_in(data)
        if body is None:
            return False
        self._begin(known.preamble, body, known.infer, keep_alive=True)
        return True

    def on_message_begin(self) -> None:
        # The ASGI scope is made in on_headers_complete, for requests that need one.
        self.url = b""
        self.headers = []
        self.reading = _HEAD
        self.since = self.loop.time()
        self.head_bytes = self.chunk_bytes
        self.body_bytes = self.sent_bytes = 0

    def on_url(self, url: bytes) -> None:
        self.url += url
        if len(self.url) > self.edge.limits.line_bytes_max:
            detail = f"At most {self.edge.limits.line_bytes_max} bytes."
            self._stop((ProblemCode.URI_TOO_LONG, detail))

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.reading == _BODY:  # it would join the headers that were checked
            self._stop((ProblemCode.MALFORMED_HTTP, "No trailers are taken behind a body."))
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        headers = self.headers
        fields = dict(headers)
        if not self._take_lane(fields):
            self._take_road(fields)
        self.reading = _BODY

    def _take_lane(self, fields: dict[bytes, bytes]) -> bool:
        """Whether this is a plain call that the fast lane answers."""
        infer = self.url.startswith(b"/v2/")
        if (
            not (is_plain_infer(self.url) if infer else is_predict(self.url))
            or len(fields) != len(self.headers)
            or len(fields) > self.edge.limits.headers_max
            or self.chunk.find(b"\r\n\r\n", 0, QUICK_HEAD_BYTES) < 0
            or fields.get(b"host") not in self.edge.hosts
            or not SPECIAL.isdisjoint(fields)
            or self.flow.write_paused
            or not self.edge.fast_lane
            or self._answering()
            or self.parser.get_method() != b"POST"
            or self.parser.get_http_version() != "1.1"
        ):
            return False
        length = fields.get(b"content-length", b"")
        if not length.isdigit() or len(length) > 7 or int(length) > PREDICT_BYTES_MAX:
            return False
        self.lane_fields = fields
        self.lane_infer = infer_head_of(self.url, fields) if infer else None
        self.path = self.url.partition(b"?")[0].decode()
        self.body_bytes_max = PREDICT_BYTES_MAX
        self.body_s_max = 30.0
        self.holds = True
        if infer and not self.draining:
            self.idle_s_max = self.edge.times.idle_v2_s_max
        return True

    def _take_road(self, fields: dict[bytes, bytes]) -> None:
        """The ordinary way: every check, then an ASGI request."""
        fault = fault_in_head(
            self.parser.get_http_version(), self.url, self.headers, self.edge.limits
        )
        if fault is not None:
            self._stop(fault)
        self.edge.know_host(fields[b"host"])
        path = self.path = self.url.partition(b"?")[0].decode()
        rule = rule_for(path)
        self.body_bytes_max = rule.body_bytes_max if rule else CONTROL_BYTES_MAX
        self.body_s_max = rule.body_s_max if rule else self.edge.times.body_grace_s
        self.holds = path == "/predict" or path.startswith("/v2")
        if path.startswith("/v2"):
            self.idle_s_max = self.edge.times.idle_v2_s_max
        if int(fields.get(b"content-length", b"0")) > self.body_bytes_max:
            self._stop(self._too_large())
        headers, url = self.headers, self.url
        super().on_message_begin()
        self.scope[PRESENCE] = self.presence  # type: ignore[literal-required]  # ours
        self.headers.extend(headers)
        self.url = url
        self.expect_100_continue = fields.get(b"expect", b"").lower() == b"100-continue"
        super().on_headers_complete()
        self.cycle.transport = self.gathering  # type: ignore[assignment]  # does what it uses
        if self.draining:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        self.body_bytes += len(body)
        if self.body_bytes > self.body_bytes_max:
            self._stop(self._too_large())
        if self.body_bytes > FREE_BODY_BYTES and self.holds:
            self._hold()
        if self.lane_fields is not None:
            self.lane_parts.append(body)
        else:
            super().on_body(body)

    def _hold(self) -> None:
        held = self.body_bytes - FREE_BODY_BYTES
        self.edge.bodies_bytes += held - self.held_bytes
        self.held_bytes = held
        if self.edge.bodies_bytes > self.edge.bodies_bytes_max:
            self._stop(CROWDED)

    def _let_go(self) -> None:
        self.edge.bodies_bytes -= self.held_bytes
        self.held_bytes = 0

    def on_message_complete(self) -> None:
        self.reading = _IDLE
        self.path = ""
        self.since = self.loop.time()
        if self.held_bytes:
            self._let_go()
        chunk, self.chunk = self.chunk, b""
        fields = self.lane_fields
        if fields is None:
            super().on_message_complete()
            return
        self.lane_fields = None
        parts, self.lane_parts = self.lane_parts, []
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        preamble = preamble_of(fields, self.url.partition(b"?")[2])
        keep_alive = self.parser.should_keep_alive()
        infer = self.lane_infer
        if keep_alive and preamble.lasting:
            self.known_head = KnownHead.of(chunk, body, preamble, infer)
        self._begin(preamble, body, infer, keep_alive=keep_alive)

    def _begin(
        self, preamble: Preamble, body: bytes, infer: InferHead | None, *, keep_alive: bool
    ) -> None:
        lane = self.lane
        lane.response_complete = False
        lane.keep_alive = keep_alive and not self.draining
        self.cycle = lane  # type: ignore[assignment]  # has what uvicorn reads of a cycle
        question = Question(next(self.edge.request_ids), preamble, body)
        began_ns = time.perf_counter_ns()
        refusal = self.edge.refuse(question) if infer is None else None
        if refusal is not None:
            self._reply(refusal, question, None, began_ns)
            return
        self.lane_errand = Errand(
            self._answer(question, infer, began_ns), self.loop, self.edge.context
        )

    # Answering

    async def _answer(self, question: Question, infer: InferHead | None, began_ns: int) -> None:
        edge = self.edge
        try:
            if infer is None:
                reply = await edge.predict(question)
            else:
                reply = await edge.infer(question, infer)
        except Exception:  # noqa: BLE001 - the edge answers whatever happens
            path = "/predict" if infer is None else infer.path
            _log.exception("request_failed", request_id=question.request_id, path=path)
            reply = edge.failure(question.request_id, path)
        self._reply(reply, question, infer, began_ns)

    def _reply(
        self, reply: Reply, question: Question, infer: InferHead | None, began_ns: int
    ) -> None:
        seconds = (time.perf_counter_ns() - began_ns) / 1e9
        if infer is None:
            PREDICT_SECONDS.observe(seconds)
        REQUESTS.add(("predict" if infer is None else "infer", reply.status))
        path = "/predict" if infer is None else infer.path
        self.edge.log_access(reply.status, question, path, seconds)
        lane = self.lane
        lane.response_complete = True
        if self.transport.is_closing():
            return
        default = self.server_state.default_headers
        self.transport.write(
            self.edge.render(reply, question.request_id, default, keep_alive=lane.keep_alive)
        )
        if not lane.keep_alive:
            self.transport.close()
        self.on_response_complete()

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        self.gathering.flush()  # the next answer may be written at once
        if self.transport.is_closing():
            return
        self.since = self.loop.time()
        self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)

    # Ending

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
        elif self.reading == _HEAD:
            if waited_s > times.head_s_max:
                self._refuse(SLOW_HEAD)
        elif self.reading == _BODY:
            due = times.body_bytes_per_s_min * waited_s
            slow = waited_s > times.body_grace_s and self.body_bytes < due
            if waited_s > self.body_s_max or (slow and not self.flow.read_paused):
                self._refuse(SLOW_BODY)
        elif waited_s > self.idle_s_max and not self._answering():
            self.transport.close()

    def _answering(self) -> bool:
        cycle: Any = self.cycle  # None before the first request, whatever uvicorn declares
        return cycle is not None and not cycle.response_complete

    def _too_large(self) -> Fault:
        return ProblemCode.CONTENT_TOO_LARGE, f"At most {self.body_bytes_max} bytes here."

    def _stop(self, fault: Fault) -> None:
        self._refuse(fault)
        raise _Refused

    def _refuse(self, fault: Fault) -> None:
        """Answer with a fault and close, unless another answer is still due on this connection."""
        if self.refused:
            return
        self.refused = True
        self._let_go()
        self.lane_parts = []
        cycle, answering = self.cycle, self._answering()
        own = self.reading == _BODY and self.lane_fields is None
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
