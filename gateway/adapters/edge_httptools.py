"""The edge: uvicorn's protocol on httptools with limits on everything, and a fast lane.

Stock uvicorn bounds neither heads nor idle or slow connections, and middleware comes too late for
that. The fast lane takes ``POST /predict`` and the Open Inference Protocol's ``infer`` from the
parser to the verb without an ASGI scope: what is special (pipelining, Expect, a slow reader) goes
the ordinary way.
"""

import time
from typing import Any

import httptools

from contracts.problems import ProblemCode
from gateway.adapters.edge import UNREADABLE, Edge
from gateway.adapters.edge_connection import BODY, FREE_BODY_BYTES, HEAD, IDLE, EdgeConnection
from gateway.adapters.known_head import KnownHead
from gateway.adapters.lane import SPECIAL, LaneCycle, infer_head_of, is_plain_infer, is_predict
from gateway.adapters.presence import PRESENCE
from gateway.domain.access import CONTROL_BYTES_MAX, PREDICT_BYTES_MAX, rule_for
from gateway.domain.exchange import Preamble, Question, Reply, preamble_of
from gateway.domain.head import Fault, fault_in_head
from gateway.domain.open_inference import InferHead
from gateway.metrics import PREDICT_SECONDS, REQUESTS
from kit.errand import Errand
from kit.logs import get_logger

_log = get_logger(__name__)

QUICK_HEAD_BYTES = 8 * 1024
"""A head that ends within so many bytes breaks no limit of heads but their number, however long its
body is."""

FRAMING_BYTES_MAX = 64 * 1024
"""What chunk sizes and extensions may take, besides as many bytes again as the body has."""


class EdgeProtocol(EdgeConnection):
    """What is asked and answered on one client connection."""

    def __init__(self, edge: Edge, *args: Any, **options: Any) -> None:  # uvicorn's own arguments
        super().__init__(edge, *args, **options)
        self.head_bytes = self.chunk_bytes = 0
        self.body_bytes_max = self.sent_bytes = 0
        self.chunk = b""
        """What was read last, while it can be one whole message."""
        self.known_head: KnownHead | None = None
        self.lane = LaneCycle()
        self.lane_errand: Errand | None = None
        self.lane_infer: InferHead | None = None
        """Of what ``lane_fields`` are of; None: a prediction."""

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self.lane_errand is not None and not self.lane.response_complete:
            self.lane_errand.cancel()

    # Reading

    def data_received(self, data: bytes) -> None:
        if self.refused:
            self._leave_unheard(data)
            return
        if self.known_head is not None and self._take_known(self.known_head, data):
            return
        self.chunk_bytes = len(data)
        self.chunk = data if self.reading == IDLE else b""
        if self.reading == HEAD:
            self.head_bytes += len(data)
        elif self.reading == BODY:
            self.sent_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._refuse(UNREADABLE)
        except httptools.HttpParserError:
            self._refuse(UNREADABLE)
        else:
            limits = self.edge.limits
            if self.reading == HEAD and self.head_bytes > (
                limits.headers_bytes_max + limits.line_bytes_max
            ):
                detail = f"At most {limits.headers_bytes_max} bytes in all."
                self._refuse((ProblemCode.HEADERS_TOO_LARGE, detail))
            elif self.reading == BODY and self.sent_bytes > (
                2 * self.body_bytes + FRAMING_BYTES_MAX
            ):
                self._refuse((ProblemCode.CONTENT_TOO_LARGE, "Chunks of more framing than body."))

    def _take_known(self, known: KnownHead, data: bytes) -> bool:
        """Whether this is another call under the last one's head, in the fast lane."""
        if self.reading != IDLE or self.flow.write_paused or self._answering():
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
        self.reading = HEAD
        self.since = self.loop.time()
        self.head_bytes = self.chunk_bytes
        self.body_bytes = self.sent_bytes = 0

    def on_url(self, url: bytes) -> None:
        self.url += url
        if len(self.url) > self.edge.limits.line_bytes_max:
            detail = f"At most {self.edge.limits.line_bytes_max} bytes."
            self._stop((ProblemCode.URI_TOO_LONG, detail))

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.reading == BODY:  # it would join the headers that were checked
            self._stop((ProblemCode.MALFORMED_HTTP, "No trailers are taken behind a body."))
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        headers = self.headers
        fields = dict(headers)
        if not self._take_lane(fields):
            self._take_road(fields)
        self.reading = BODY

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

    def _too_large(self) -> Fault:
        return ProblemCode.CONTENT_TOO_LARGE, f"At most {self.body_bytes_max} bytes here."

    def on_message_complete(self) -> None:
        self.reading = IDLE
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
