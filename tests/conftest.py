"""What every test may ask for: a real Redis-compatible server, and a clock that stands still."""

import asyncio
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import uvloop
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

from kit.clock import FakeClock
from leadline.local.embedded_redis import find_server

_TOGETHER = ("tests/platform/", "tests/deploy/test_rehearsal.py")
"""Their tests share what takes long to start, and look for what an earlier one has left there."""


class _Workers(LoadScopeScheduling):  # type: ignore[misc]  # pytest-xdist has no types
    """Tests that belong together run in one worker, in order.

    pytest-xdist 3.8 has a mark for that, which does nothing under pytest 9.2.
    """

    def _split_scope(self, nodeid: str) -> str:
        return next((start for start in _TOGETHER if nodeid.startswith(start)), nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    return _Workers(config, log)


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Tests run on the loop that serves in earnest; its transports are none of asyncio's."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(scope="session")
def redis_server() -> Iterator[str]:
    """The URL of a real server on a unix socket, its own for each test process."""
    with tempfile.TemporaryDirectory(prefix="ll") as folder:
        socket = f"{folder}/redis.sock"
        arguments = ["--port", "0", "--unixsocket", socket, "--dir", folder, "--save", ""]
        arguments += ["--appendonly", "yes", "--appendfsync", "everysec"]
        with Path(folder, "log").open("wb") as log:
            process = subprocess.Popen([str(find_server()), *arguments], stdout=log, stderr=log)
        client = redis.Redis.from_url(f"unix://{socket}")
        try:
            _wait_for(client)
            yield f"unix://{socket}"
        finally:
            client.close()
            process.terminate()
            process.wait(10)


def _wait_for(client: redis.Redis) -> None:
    for _ in range(10_000):  # connecting to an absent unix socket fails at once
        try:
            client.ping()
        except redis.ConnectionError:
            continue
        return
    raise AssertionError("the Redis-compatible server did not start")


@pytest.fixture
def redis_url(redis_server: str) -> str:
    """The server, emptied for this test."""
    with redis.Redis.from_url(redis_server) as client:
        client.flushall()
    return redis_server


@pytest.fixture
def fake_clock() -> FakeClock:
    """A clock that moves only when the test says so."""
    return FakeClock()
