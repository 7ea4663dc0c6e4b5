"""One December day lived through the real feature store, then asked for again from its log."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pytest

from contracts.identity import SERVICE_TOKEN_HEADER
from feature_store.app import build
from feature_store.facade import FeatureStore
from feature_store.settings import FeatureStoreSettings
from kit.clock import FakeClock
from leadline.demo import features
from leadline.demo.flights import DAY_US, DECEMBER_US, HOUR_US, asks, between
from leadline.demo.replay import ASK_FIELDS, PUSHED, Stream, pushed
from leadline.demo.seed import history, stream_of

TOKEN = "t" * 40
DAY_BEGINS_US = DECEMBER_US + 4 * DAY_US
"""5 December 2013: freezing rain, every second flight late."""
ARROW = {"content-type": "application/vnd.apache.arrow.stream"}


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(DAY_BEGINS_US)


@pytest.fixture
async def store(
    redis_url: str, tmp_path: Path, clock: FakeClock
) -> AsyncIterator[httpx.AsyncClient]:
    settings = FeatureStoreSettings(
        state_dir=tmp_path,
        redis_url=redis_url,
        service_token=TOKEN,
        feature_modules=(features.__name__,),
    )
    app = build(settings, clock)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(app),
            base_url="http://feature-store",
            headers={SERVICE_TOKEN_HEADER: TOKEN},
            timeout=60,
        ) as client,
    ):
        yield client


async def _push(store: httpx.AsyncClient, source: str, **body: Any) -> None:
    params = {"wait": "applied", **({"source": source} if "content" in body else {})}
    answer = await store.post("/v1/features/push", params=params, **body)
    assert answer.status_code == 200, answer.text
    assert not answer.json()["quarantined"]
    assert answer.json()["applied"]


async def _live_through(
    store: httpx.AsyncClient, clock: FakeClock, until_us: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The questions of the day in order, and what the online store said of each at its instant."""
    streams = {
        name: (Stream(table(), "event_time"), columns) for name, (table, columns) in PUSHED.items()
    }
    questions = Stream(asks(), "asked_at")
    instants = np.unique(questions.at_us)
    rows, answers, last_us = [], [], clock.now_us() - 1
    for now_us in instants[(instants >= last_us) & (instants < until_us)].tolist():
        clock.step_us(now_us - clock.now_us())
        known = {
            name: [pushed(row, columns) for row in stream.between(last_us, now_us)]
            for name, (stream, columns) in streams.items()
        }
        async with asyncio.TaskGroup() as group:
            for name, events in known.items():
                if events:
                    group.create_task(_push(store, name, json={"source": name, "rows": events}))
        last_us = now_us
        asked = questions.between(now_us - 1, now_us)
        body = {
            "feature_service": "delay_online",
            "entity_rows": [
                {
                    **{f: row[f] for f in ASK_FIELDS},
                    "scheduled_departure": row["scheduled_departure"].isoformat(),
                }
                for row in asked
            ],
        }
        answer = await store.post("/v1/features/online", json=body)
        assert answer.status_code == 200, answer.text
        rows += asked
        answers += answer.json()["rows"]
    return rows, answers


def _instance(row: dict[str, Any]) -> dict[str, Any]:
    departure = row["scheduled_departure"].isoformat()
    return {**{name: row[name] for name in ASK_FIELDS}, "scheduled_departure": departure}


@pytest.mark.parametrize(
    ("hours", "flights"), [(11, 80), pytest.param(24, 850, marks=pytest.mark.slow)]
)
async def test_a_day_replayed_online_is_the_historical_join_bit_for_bit(
    store: httpx.AsyncClient, clock: FakeClock, tmp_path: Path, hours: int, flights: int
) -> None:
    for name, table in history(DAY_BEGINS_US):
        recent = between(table, "event_time", DAY_BEGINS_US - 8 * DAY_US, DAY_BEGINS_US)
        await _push(store, name, content=stream_of(recent), headers=ARROW)
    rows, answers = await _live_through(store, clock, DAY_BEGINS_US + hours * HOUR_US)
    assert len(rows) > flights

    table = pa.Table.from_pylist(rows, schema=asks().schema).rename_columns(
        {"asked_at": "event_time"}
    )
    joined = FeatureStore.open(tmp_path, [features.__name__]).get_historical_features(
        table, feature_service="delay_online"
    )
    for ref in features.DELAY_ONLINE.refs:
        expected = joined[ref].to_pylist()
        found = [answer[ref] for answer in answers]
        assert list(map(repr, found)) == list(map(repr, expected)), ref
        statuses = [answer[f"{ref}__status"] for answer in answers]
        assert statuses == joined[f"{ref}__status"].to_pylist(), ref
