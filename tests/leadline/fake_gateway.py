"""A gateway that only remembers: a real HTTP server that answers as the platform would."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import orjson

from kit.clock import FileClock


@dataclass(frozen=True, slots=True)
class Seen:
    """One request as it arrived, and the business time at which it did."""

    path: str
    body: dict[str, Any]
    key: str
    now_us: int


@dataclass(slots=True)
class FakeGateway:
    """Remembers requests in order of arrival; ``refuse`` maps a path's beginning to the statuses
    that the next requests there are answered with."""

    clock_file: Path
    url: str = ""
    seen: list[Seen] = field(default_factory=list)
    refuse: dict[str, list[int]] = field(default_factory=dict)
    says: dict[str, Any] = field(default_factory=dict)
    """What a ``GET`` of a path, or a ``POST`` that is not of the hot path, is answered with: text
    as it is, anything else as JSON."""
    refusal: dict[str, Any] = field(
        default_factory=lambda: {"detail": "not now", "code": "unavailable"}
    )
    """The body of what ``refuse`` answers."""
    busy: set[str] = field(default_factory=set)
    """Paths that are answered with 409."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, path: str, body: dict[str, Any], key: str) -> tuple[int, Any]:
        """What the platform would say."""
        with self._lock:
            now_us = FileClock(self.clock_file).now_us()
            statuses = next((s for begin, s in self.refuse.items() if path.startswith(begin)), [])
            if statuses and statuses[0] != 200:
                return statuses.pop(0), self.refusal
            if path in self.busy:
                return 409, {"detail": "another is under way", "code": "conflict"}
            self.seen.append(Seen(path, body, key, now_us))
            if path in self.says:
                return 200, self.says[path]
            if path == "/predict":
                predictions = [{"probability": 0.25}]
                answer = {"predictions": predictions, "request_id": f"r{len(self.seen)}"}
                return 200, answer
            taken = body.get("rows", body.get("labels", []))
            return 200, {"accepted": len(taken), "quarantined": []}

    def of(self, beginning: str) -> list[Seen]:
        """The requests to a path."""
        return [one for one in self.seen if one.path.startswith(beginning)]


@contextmanager
def fake_gateway(clock_file: Path) -> Iterator[FakeGateway]:
    """One that listens on a free port of loopback."""
    gateway = FakeGateway(clock_file)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 65_536  # an answer is one packet

        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["content-length"]))
            is_json = self.headers["content-type"] == "application/json"
            self._answer(orjson.loads(content) if is_json else {"bytes": len(content)})

        def do_GET(self) -> None:
            self._answer({})

        def _answer(self, body: dict[str, Any]) -> None:
            key = self.headers.get("authorization", "").removeprefix("Bearer ")
            status, said = gateway.answer(self.path, body, key)
            content = said.encode() if isinstance(said, str) else orjson.dumps(said)
            self.send_response(status)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    gateway.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield gateway
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
