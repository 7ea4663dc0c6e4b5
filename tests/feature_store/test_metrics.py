"""What the feature store says of itself."""

from pathlib import Path

import pytest

from kit.clock import FakeClock
from kit.telemetry import REGISTRY
from tests.feature_store.over_http import NOW, arrival, serving


def sample(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(name, labels)


@pytest.fixture
def at_noon() -> FakeClock:
    return FakeClock(int(NOW.timestamp()) * 1_000_000)


async def test_pushed_rows_are_counted_by_what_became_of_them(
    tmp_path: Path, redis_url: str, at_noon: FakeClock
) -> None:
    name = "feature_store_rows_pushed_total"
    before = sample(name, source="arrivals", outcome="accepted") or 0.0
    aside = sample(name, source="arrivals", outcome="quarantined") or 0.0
    async with serving(tmp_path, redis_url, at_noon) as client:
        rows = [arrival(5), arrival(3), {"nonsense": 1}]
        body = {"source": "arrivals", "rows": rows}
        assert (await client.post("/v1/features/push?wait=applied", json=body)).status_code == 200
        assert sample(name, source="arrivals", outcome="accepted") == before + 2
        assert sample(name, source="arrivals", outcome="quarantined") == aside + 1
        assert sample("feature_store_log_position") == 2
        assert sample("feature_store_applied_position") == 2


async def test_the_age_of_a_source_survives_a_restart(
    tmp_path: Path, redis_url: str, at_noon: FakeClock
) -> None:
    newest = "feature_store_newest_event_timestamp_seconds"
    async with serving(tmp_path, redis_url, at_noon) as client:
        body = {"source": "arrivals", "rows": [arrival(90), arrival(30), arrival(60)]}
        await client.post("/v1/features/push", json=body)
    at_noon.advance_us(3_600_000_000)
    async with serving(tmp_path, redis_url, at_noon):
        told = sample(newest, source="arrivals")
        now = sample("feature_store_business_timestamp_seconds")
        assert told is not None
        assert now is not None
        assert now - told == pytest.approx(90 * 60)
        assert (sample("feature_store_source_lives_seconds", source="arrivals") or 0) > 0
