"""The feature store's service in this process, and what its tests say to it."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
from pydantic import SecretStr

from contracts.identity import SERVICE_TOKEN_HEADER
from feature_store.app import build
from feature_store.settings import FeatureStoreSettings
from kit.clock import FakeClock

NOW = datetime(2025, 3, 30, 12, tzinfo=UTC)
TOKEN = "t" * 32
DEFINITIONS = "tests.feature_store.flights"
ARROW = {"content-type": "application/vnd.apache.arrow.stream"}


@asynccontextmanager
async def serving(
    state_dir: Path, redis_url: str, clock: FakeClock, **changes: Any
) -> AsyncIterator[httpx.AsyncClient]:
    settings = FeatureStoreSettings(
        state_dir=state_dir,
        redis_url=redis_url,
        service_token=SecretStr(TOKEN),
        **{"feature_modules": (DEFINITIONS,), **changes},
    )
    app = build(settings, clock)
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app)
        headers = {SERVICE_TOKEN_HEADER: TOKEN}
        async with httpx.AsyncClient(
            transport=transport, base_url="http://fs", headers=headers
        ) as client:
            yield client


def arrival(minutes_ago: float, **changes: Any) -> dict[str, Any]:
    at = NOW - timedelta(minutes=minutes_ago)
    row = {"carrier": "UA", "number": 7, "delay": 10, "taxi": 0.5, "event_time": at.isoformat()}
    return {**row, **changes}


async def push(
    client: httpx.AsyncClient, *rows: Mapping[str, Any], source: str = "arrivals"
) -> Any:
    answer = await client.post(
        "/v1/features/push?wait=applied", json={"source": source, "rows": list(rows)}
    )
    assert answer.status_code == 200, answer.text
    return answer.json()


async def ask(client: httpx.AsyncClient, *refs: str, **row: Any) -> dict[str, Any]:
    row = {"carrier": "UA", "number": 7, **row}
    answer = await client.post(
        "/v1/features/online", json={"entity_rows": [row], "feature_refs": list(refs)}
    )
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()["rows"][0]
    return found
