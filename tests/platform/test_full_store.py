"""A store without memory left: predictions go on, and nothing that was answered is lost."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import redis

from leadline.client import Client
from leadline.state import StateDir
from tests.platform.asking import flight, is_known, observed, observed_by_now
from tests.polling import until


@contextmanager
def full(platform: StateDir) -> Iterator[redis.Redis]:
    with redis.Redis(unix_socket_path=str(platform.socket_dir / "redis.sock")) as store:
        used = store.info("memory")["used_memory"]
        store.config_set("maxmemory", str(used // 2))
        try:
            yield store
        finally:
            store.config_set("maxmemory", "0")


def exported(platform: StateDir, service: str, name: str) -> float:
    url = platform.read_endpoints()[service]
    text = httpx.get(f"{url}/metrics", trust_env=False).text
    found = re.search(rf"^{name}(?:{{[^}}]*}})? (\S+)$", text, re.MULTILINE)
    assert found is not None, name
    return float(found[1])


async def test_with_a_full_store_predictions_go_on_keys_can_be_revoked_and_nothing_is_lost(
    platform: StateDir, admin: Client, demo_user: Client
) -> None:
    def share() -> float:
        used = exported(platform, "feature_store", "store_memory_used_bytes")
        return used / exported(platform, "feature_store", "store_memory_limit_bytes")

    await until(lambda: observed_by_now(admin) >= 0, limit_s=30)
    before = observed(admin)
    assert 0 < share() < 0.9
    with full(platform):
        answers = [demo_user.predict("delay", [flight(index)]) for index in range(50)]
        made = admin.post("/v1/keys", {"principal": "leaving", "scopes": ["predict"]})
        admin.send("DELETE", f"/v1/keys/{made['id']}")
        await until(lambda: not is_known(admin, made["key"]))
        await until(lambda: share() > 0.9)
        spooled = exported(platform, "inference", "inference_spool_bytes")
    rows = sum(len(answer["predictions"]) for answer in answers)
    assert spooled > 0
    await until(lambda: observed_by_now(admin) >= before + rows, limit_s=60)
    await until(lambda: share() < 0.9)
