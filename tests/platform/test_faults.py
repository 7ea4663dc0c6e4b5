"""Whatever is killed, the platform answers again, and nothing that was answered is lost."""

import httpx
import pytest

from leadline.client import Client, PlatformAwayError, ProblemError
from leadline.state import StateDir
from tests.platform.asking import flight, observed, observed_by_now
from tests.platform.conftest import kill_child
from tests.polling import until


@pytest.mark.parametrize(
    "name", ["gateway", "inference", "registry", "feature_store", "monitor", "redis"]
)
async def test_after_a_kill_the_platform_answers_again(
    platform: StateDir, demo_user: Client, name: str
) -> None:
    """How soon is measured by ``bench/local_run.py``; here a slow machine is no failure."""
    kill_child(platform, name)
    await until(lambda: _answers(demo_user), limit_s=30)
    await until(lambda: _is_back(platform, name), limit_s=60)


@pytest.mark.parametrize("name", ["inference", "monitor", "redis"])
async def test_what_was_answered_before_a_kill_is_in_the_monitor_afterwards(
    platform: StateDir, admin: Client, demo_user: Client, name: str
) -> None:
    await until(lambda: _answers(demo_user) and observed_by_now(admin) >= 0, limit_s=30)
    before = observed(admin)
    answered = sum(
        len(demo_user.predict("delay", [flight(index)])["predictions"]) for index in range(50)
    )
    kill_child(platform, name)
    await until(lambda: observed_by_now(admin) >= before + answered, limit_s=60)
    await until(lambda: _answers(demo_user), limit_s=30)


def _answers(client: Client) -> bool:
    try:
        client.predict("delay", [flight(1)])
    except (PlatformAwayError, ProblemError):
        return False
    return True


def _is_back(platform: StateDir, name: str) -> bool:
    """Whether the service itself answers, not only what serves without it."""
    url = platform.read_endpoints().get(name)
    if url is None:  # Redis, which speaks no HTTP
        return True
    try:
        return httpx.get(f"{url}/readyz", trust_env=False, timeout=5).status_code == 200
    except httpx.TransportError:
        return False
