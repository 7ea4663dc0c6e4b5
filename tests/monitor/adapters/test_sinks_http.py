"""Notices arrive as their readers want them, or are said not to have arrived."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import orjson
import pytest
from standardwebhooks import Webhook

from kit.clock import FakeClock, SystemClock
from monitor.adapters.sinks_http import LAPSES_S, AlertmanagerSink, SlackSink, WebhookSink
from monitor.ports import Notice, SinkRefused

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
ALERT: dict[str, Any] = {
    "fingerprint": "0123456789abcdef",
    "model": "delay",
    "version": "2",
    "feature": "distance",
    "segment": "",
    "kind": "drift",
    "severity": "ticket",
    "sentence": "distance: D = 0.31",
    "evidence": {"replay": "leadline drift delay --version 2"},
}
NOTICE = Notice(
    "delay v2 distance: drift firing", "D = 0.31", "ticket", "firing", "delay", (ALERT,)
)


class Receiver:
    """Takes what is posted, or refuses with a status."""

    def __init__(self, status: int = 200) -> None:
        self.status = status
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return httpx.Response(self.status)

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.MockTransport(self))


async def test_a_webhook_is_signed_and_keeps_its_id_when_sent_again() -> None:
    receiver = Receiver()
    sink = WebhookSink(receiver.client(), "http://hook/", SECRET, SystemClock())
    await sink.send(NOTICE)
    await sink.send(NOTICE)
    first, second = receiver.requests
    body = Webhook(SECRET).verify(first.content.decode(), dict(first.headers))
    assert body["type"] == "alert.firing"
    assert body["data"]["alerts"][0]["sentence"] == "distance: D = 0.31"
    assert first.headers["webhook-id"] == second.headers["webhook-id"]


async def test_slack_gets_a_title_and_the_sentences() -> None:
    receiver = Receiver()
    await SlackSink(receiver.client(), "http://slack/").send(NOTICE)
    body = orjson.loads(receiver.requests[0].content)
    assert body["text"] == ":warning: delay v2 distance: drift firing"
    assert body["blocks"][1]["text"]["text"] == "D = 0.31"


async def test_alertmanager_gets_labels_it_can_route_by_and_an_end_when_it_is_over() -> None:
    receiver, clock = Receiver(), FakeClock(int(NOW.timestamp()) * 1_000_000)
    sink = AlertmanagerSink(receiver.client(), "http://am:9093/", clock)
    await sink.send(NOTICE)
    clock.advance_us(60_000_000)
    ended = Notice(NOTICE.title, NOTICE.text, "ticket", "resolved", "delay", (ALERT,))
    await sink.send(ended)
    assert receiver.requests[0].url.path == "/api/v2/alerts"
    firing, resolved = (orjson.loads(request.content)[0] for request in receiver.requests)
    assert firing["labels"] == {
        "alertname": "Leadline_drift",
        "fingerprint": "0123456789abcdef",
        "model": "delay",
        "version": "2",
        "feature": "distance",
        "severity": "ticket",
    }
    assert firing["annotations"]["replay"] == "leadline drift delay --version 2"
    assert resolved["labels"] == firing["labels"]
    assert resolved["endsAt"] == (NOW + timedelta(seconds=60)).isoformat()
    assert "startsAt" not in resolved


async def test_alertmanager_takes_an_alert_to_fire_until_it_hears_no_more_of_it() -> None:
    receiver, clock = Receiver(), FakeClock(int(NOW.timestamp()) * 1_000_000)
    sink = AlertmanagerSink(receiver.client(), "http://am:9093/", clock)
    await sink.send(NOTICE)
    clock.advance_us(60_000_000)
    await sink.restate([ALERT])
    first, again = (orjson.loads(request.content)[0] for request in receiver.requests)
    assert again["labels"] == first["labels"]
    lapses = timedelta(seconds=LAPSES_S)
    assert first["endsAt"] == (NOW + lapses).isoformat()
    assert again["endsAt"] == (NOW + timedelta(seconds=60) + lapses).isoformat()


@pytest.mark.parametrize("status", [400, 404, 500, 503])
async def test_a_refused_notice_is_not_lost_silently(status: int) -> None:
    with pytest.raises(SinkRefused, match=str(status)):
        await SlackSink(Receiver(status).client(), "http://slack/").send(NOTICE)
