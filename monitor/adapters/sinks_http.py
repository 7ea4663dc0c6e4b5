"""Notices over HTTP: signed webhook (Standard Webhooks), Slack's format, Alertmanager v2."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import httpx
import orjson
from standardwebhooks import Webhook

from kit.clock import Clock
from monitor.ports import Notice, SinkAway, SinkRefused

LAPSES_S = 300
"""An alert that Alertmanager has not heard of for so long counts as over there."""


async def _post(client: httpx.AsyncClient, url: str, body: bytes, headers: dict[str, str]) -> None:
    try:
        answer = await client.post(
            url, content=body, headers={"content-type": "application/json", **headers}
        )
    except httpx.HTTPError as error:
        raise SinkAway(type(error).__name__) from error
    if answer.is_error:
        raise SinkRefused(f"HTTP {answer.status_code}")


class WebhookSink:
    """Signed as Standard Webhooks want it; the same notice always has the same id."""

    name = "webhook"

    def __init__(self, client: httpx.AsyncClient, url: str, secret: str, clock: Clock) -> None:
        self._client = client
        self._url = url
        self._webhook = Webhook(secret)
        self._clock = clock

    async def send(self, notice: Notice) -> None:
        """Raises ``SinkAway`` when it was not taken."""
        body = orjson.dumps({"type": f"alert.{notice.status}", "data": asdict(notice)})
        message_id = f"msg_{sha256(body).hexdigest()[:24]}"
        at = datetime.fromtimestamp(self._clock.wall_us() // 1_000_000, UTC)
        headers = {
            "webhook-id": message_id,
            "webhook-timestamp": str(int(at.timestamp())),
            "webhook-signature": self._webhook.sign(message_id, at, body.decode()),
        }
        await _post(self._client, self._url, body, headers)


class SlackSink:
    """An incoming webhook of Slack, or of whatever understands its blocks."""

    name = "slack"

    def __init__(self, client: httpx.AsyncClient, url: str) -> None:
        self._client = client
        self._url = url

    async def send(self, notice: Notice) -> None:
        """Raises ``SinkAway`` when it was not taken."""
        mark = {"page": ":rotating_light:", "ticket": ":warning:", "info": ":information_source:"}
        icon = ":white_check_mark:" if notice.status == "resolved" else mark[notice.severity]
        body = {
            "text": f"{icon} {notice.title}",
            "blocks": [
                {
                    "type": "header",
                    "text": {"type": "plain_text", "text": f"{icon} {notice.title}"[:150]},
                },
                {"type": "section", "text": {"type": "mrkdwn", "text": notice.text[:2900]}},
            ],
        }
        await _post(self._client, self._url, orjson.dumps(body), {})


class AlertmanagerSink:
    """Alertmanager groups, routes and inhibits again; ``severity`` and ``alertname`` route."""

    name = "alertmanager"

    def __init__(self, client: httpx.AsyncClient, url: str, clock: Clock) -> None:
        self._client = client
        self._url = url.rstrip("/") + "/api/v2/alerts"
        self._clock = clock

    async def send(self, notice: Notice) -> None:
        """Raises ``SinkAway`` when it was not taken."""
        await self._say(notice.alerts, firing=notice.status == "firing")

    async def restate(self, alerts: Sequence[dict[str, Any]]) -> None:
        """Say which alerts fire, for another ``LAPSES_S``. Raises ``SinkAway``."""
        await self._say(alerts, firing=True)

    async def _say(self, alerts: Sequence[dict[str, Any]], *, firing: bool) -> None:
        now = datetime.fromtimestamp(self._clock.wall_us() / 1e6, UTC)
        ends = (now + timedelta(seconds=LAPSES_S) if firing else now).isoformat()
        begins = {"startsAt": now.isoformat()} if firing else {}
        body = [{**self._alert(alert), **begins, "endsAt": ends} for alert in alerts]
        await _post(self._client, self._url, orjson.dumps(body), {})

    def _alert(self, alert: dict[str, Any]) -> dict[str, Any]:
        named = ("model", "version", "feature", "segment", "severity")
        return {
            "labels": {
                "alertname": f"Leadline_{alert['kind']}",
                "fingerprint": alert["fingerprint"],
                **{name: str(alert[name]) for name in named if alert[name]},
            },
            "annotations": {
                "summary": alert["sentence"],
                "replay": str(alert["evidence"].get("replay", "")),
            },
        }
