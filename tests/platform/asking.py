"""What tests ask a running platform, over and over."""

from datetime import timedelta
from typing import Any

import httpx

from leadline.client import Client, PlatformAwayError, ProblemError
from leadline.demo.sample import BEGINS, SAMPLE_INSTANCE


def flight(index: int) -> dict[str, Any]:
    """A flight of the first morning; the tail number makes units differ."""
    carrier, dest = [("UA", "IAH"), ("AA", "MIA"), ("B6", "BOS"), ("DL", "ATL")][index % 4]
    departure = BEGINS + timedelta(hours=8, minutes=index % 600)
    return {
        **SAMPLE_INSTANCE,
        "carrier": carrier,
        "dest": dest,
        "tailnum": f"N{10_000 + index}",
        "scheduled_departure": departure.isoformat().replace("+00:00", "Z"),
    }


def observed(admin: Client) -> int:
    """Rows that the monitor has."""
    return sum(version["rows"] for version in admin.get("/v1/drift/delay")["versions"])


def observed_by_now(admin: Client) -> int:
    """Likewise; -1 while it does not answer."""
    try:
        return observed(admin)
    except (PlatformAwayError, ProblemError):
        return -1


def is_known(client: Client, key: str) -> bool:
    """Whether the gateway takes this key."""
    headers = {"x-api-key": key}
    answer = httpx.post(f"{client.base_url}/predict", json={}, headers=headers, trust_env=False)
    return answer.status_code != 401
