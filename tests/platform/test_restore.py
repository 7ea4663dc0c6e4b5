"""A platform that is restored as docs/operate.md says goes on from the moment of its copy."""

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex

import pytest

from kit.clock import FileClock
from leadline.client import Client
from leadline.state import SERVICES, StateDir
from tests.docs.pages import ROOT, blocks
from tests.platform.asking import flight, is_known, observed, observed_by_now
from tests.platform.conftest import child_pid
from tests.platform.test_readme import shell
from tests.polling import until

pytestmark = pytest.mark.slow

_SECTION = [block for block in blocks(ROOT / "docs/operate.md", "sh") if "leadline d" in block]
COPY, RESTORE, LOOK = _SECTION
ASKED = 50


def run(platform: StateDir, script: str, copy: Path) -> str:
    """A block of the page, with this platform's folder and this copy's."""
    named = script.replace("/backup/leadline", str(copy)).replace(".leadline", str(platform.root))
    done = shell(platform, named)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def taken_while_stopped(platform: StateDir, copy: Path) -> None:
    run(platform, COPY, copy)


def taken_while_frozen(platform: StateDir, copy: Path) -> None:
    """In the middle of whatever it does, as by a snapshot or ``docker compose pause``."""
    with frozen(platform):
        shutil.copytree(platform.root, copy, ignore=shutil.ignore_patterns("*.sock", "*.frames"))


@contextmanager
def frozen(platform: StateDir) -> Iterator[None]:
    pids = [child_pid(platform, name) for name in (*SERVICES, "redis", "mlflow")]
    try:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize("take", [taken_while_stopped, taken_while_frozen])
async def test_what_was_acknowledged_before_the_copy_is_there_once_and_what_came_later_is_not(
    platform: StateDir,
    admin: Client,
    demo_user: Client,
    tmp_path: Path,
    take: Callable[[StateDir, Path], None],
) -> None:
    origin = token_hex(4)  # an airport that no other test knows
    await until(lambda: observed_by_now(admin) >= 0, limit_s=30)
    demo_user.predict("delay", [flight(0)])
    before = await _settled(admin)
    push_temperature(platform, admin, origin, 41.0, seconds_ago=60)
    kept = make_key(admin)
    _ask(demo_user)  # and nobody waits until the monitor has them
    take(platform, copy := tmp_path / "copy")

    await until(lambda: observed_by_now(admin) >= before + ASKED, limit_s=60)
    push_temperature(platform, admin, origin, 77.0, seconds_ago=40)
    lost = make_key(admin)
    _ask(demo_user)

    run(platform, RESTORE, copy)
    await until(lambda: observed_by_now(admin) >= before + ASKED, limit_s=60)
    assert await _settled(admin) == before + ASKED
    assert temperature(admin, origin) == 41.0
    assert (is_known(admin, kept), is_known(admin, lost)) == (True, False)
    run(platform, LOOK, copy)

    push_temperature(platform, admin, origin, 52.0, seconds_ago=20)
    assert temperature(admin, origin) == 52.0
    _ask(demo_user)
    await until(lambda: observed_by_now(admin) == before + 2 * ASKED, limit_s=60)
    shutil.rmtree(platform.root.with_name(platform.root.name + ".lost"))


def _ask(client: Client) -> None:
    for index in range(ASKED):
        client.predict("delay", [flight(index)])


async def _settled(admin: Client) -> int:
    """The rows that the monitor has, once there come no more for two seconds."""
    seen, since = observed(admin), time.monotonic()

    def still() -> bool:
        nonlocal seen, since
        if (now := observed(admin)) != seen:
            seen, since = now, time.monotonic()
        return time.monotonic() - since > 2.0

    await until(still, limit_s=60)
    return seen


def push_temperature(
    platform: StateDir, admin: Client, origin: str, temp: float, *, seconds_ago: int
) -> None:
    at_us = FileClock(platform.clock_file).now_us() - seconds_ago * 1_000_000
    numbers = dict.fromkeys(("humid", "wind_speed", "precip", "visib"), 1.0)
    at = datetime.fromtimestamp(at_us / 1e6, UTC).isoformat()
    row = {"origin": origin, "temp": temp, "event_time": at, **numbers}
    body = {"source": "weather", "rows": [row]}
    answer = admin.post("/v1/features/push", body, params={"wait": "applied"})
    assert answer["accepted"] == 1


def temperature(admin: Client, origin: str) -> float | None:
    asked = {"feature_refs": ["origin_weather:temp"], "entity_rows": [{"origin": origin}]}
    value: float | None = admin.post("/v1/features/online", asked)["rows"][0]["origin_weather:temp"]
    return value


def make_key(admin: Client) -> str:
    body = {"principal": token_hex(4), "scopes": ["predict"]}
    return str(admin.post("/v1/keys", body)["key"])
