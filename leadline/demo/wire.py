"""Keep-alive connections for the replay: requests go out on all of them before any is awaited.

httpx would spend more processor time on a replayed day than the five services together.
"""

import http.client
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import orjson

TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Request:
    """One ``POST`` of a JSON body."""

    path: str
    body: Any
    key: str


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back; status 0 when nothing did, with the reason as the body's ``detail``."""

    status: int
    body: Mapping[str, Any]

    @property
    def ok(self) -> bool:
        """Whether the platform did what was asked."""
        return 200 <= self.status < 300


class Wires:
    """A fixed number of connections to one gateway, used by one thread."""

    def __init__(self, base_url: str, connections: int = 8) -> None:
        address = urlsplit(base_url)
        assert address.hostname is not None
        self._wires = [
            http.client.HTTPConnection(address.hostname, address.port, timeout=TIMEOUT_S)
            for _ in range(connections)
        ]

    def send(self, requests: Sequence[Request]) -> list[Reply]:
        """Every request's reply, in order; as many at a time as there are connections."""
        replies: list[Reply] = []
        for start in range(0, len(requests), len(self._wires)):
            part = requests[start : start + len(self._wires)]
            sent = [self._ask(wire, one) for wire, one in zip(self._wires, part, strict=False)]
            pairs = zip(self._wires, part, sent, strict=False)
            replies += [self._read(wire, one, reused) for wire, one, reused in pairs]
        return replies

    def _ask(self, wire: http.client.HTTPConnection, request: Request) -> bool:
        """Send. False when the connection was gone; reading then tries once on a new one."""
        try:
            self._post(wire, request)
        except (OSError, http.client.HTTPException):
            wire.close()
            return False
        return True

    def _read(self, wire: http.client.HTTPConnection, request: Request, sent: bool) -> Reply:
        if sent:
            try:
                return _reply(wire)
            except (http.client.RemoteDisconnected, ConnectionResetError):
                # An idle connection that the gateway had closed: nothing was done, ask again.
                wire.close()
            except (OSError, http.client.HTTPException) as broken:
                wire.close()
                return Reply(0, {"detail": str(broken)})
        try:
            self._post(wire, request)
            return _reply(wire)
        except (OSError, http.client.HTTPException) as broken:
            wire.close()
            return Reply(0, {"detail": str(broken)})

    @staticmethod
    def _post(wire: http.client.HTTPConnection, request: Request) -> None:
        headers = {
            "content-type": "application/json",
            "authorization": f"Bearer {request.key}",
        }
        wire.request("POST", request.path, orjson.dumps(request.body), headers)

    def close(self) -> None:
        """Close every connection."""
        for wire in self._wires:
            wire.close()


def _reply(wire: http.client.HTTPConnection) -> Reply:
    response = wire.getresponse()
    content = response.read()
    try:
        body = orjson.loads(content) if content else {}
    except orjson.JSONDecodeError:
        body = {"detail": content[:200].decode("utf-8", "replace")}
    return Reply(response.status, body if isinstance(body, dict) else {"items": body})
