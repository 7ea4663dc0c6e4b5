"""What the door does when the house behind it fails."""

from typing import Any

import orjson
import pytest

from gateway.adapters.presence import PRESENCE, Presence
from gateway.domain.exchange import Question
from gateway.routes.door import Door


class Broken:
    """Every verb at once; none does anything but fail."""

    async def __call__(self, *_: Any, **__: Any) -> Any:
        raise RuntimeError("secret")


async def asked(path: str) -> tuple[list[Any], list[tuple[int, str]]]:
    """POST to ``path`` of a door with nothing but faults behind; what was sent, and logged."""
    sent: list[Any] = []
    logged: list[tuple[int, str]] = []
    broken: Any = Broken()

    async def receive() -> Any:
        return {"type": "http.request", "body": b"{}"}

    async def send(message: Any) -> None:
        sent.append(message)

    def log(status: int, question: Question, where: str, _: float) -> None:
        logged.append((status, question.request_id))

    door = Door(
        broken, predict=broken, once=broken, infer=broken, forward=broken, service_token="t",
        log_access=log, metrics_open=True,
    )  # fmt: skip
    scope = {"type": "http", "method": "POST", "path": path, "headers": [], "query_string": b"",
             PRESENCE: Presence()}  # fmt: skip
    await door(scope, receive, send)
    return sent, logged


@pytest.mark.parametrize("path", ["/predict", "/v2/models/delay/infer"])
async def test_a_fault_of_ours_is_a_500_that_the_logs_can_be_searched_for(path: str) -> None:
    (start, body), logged = await asked(path)
    request_id = dict(start["headers"])[b"x-request-id"].decode()
    assert start["status"] == 500
    assert logged == [(500, request_id)]
    told = orjson.loads(body["body"])
    assert told.get("request_id", request_id) == request_id
    assert told.keys() == {"error"} if path.startswith("/v2") else told["code"] == "internal"
    assert b"secret" not in body["body"]
