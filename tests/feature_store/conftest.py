"""A feature store over HTTP at a fixed time."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from kit.clock import FakeClock
from tests.feature_store.over_http import NOW, serving


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(int(NOW.timestamp()) * 1_000_000)


@pytest.fixture
async def client(
    tmp_path: Path, redis_url: str, clock: FakeClock
) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(tmp_path, redis_url, clock) as found:
        yield found
