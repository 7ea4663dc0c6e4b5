"""The one call that a newcomer pastes, and the moment at which the demo begins."""

import json
from datetime import UTC, datetime
from typing import Any

MODEL = "delay"
BEGINS = datetime(2013, 12, 1, tzinfo=UTC)
"""Business time of a freshly seeded demo: everything before it is history."""

SAMPLE_INSTANCE: dict[str, Any] = {
    "carrier": "UA",
    "origin": "EWR",
    "dest": "IAH",
    "tailnum": "N14228",
    "scheduled_departure": "2013-12-01T12:00:00Z",
    "distance": 1400,
}


def sample_curl(gateway_url: str, api_key: str) -> str:
    """A ``curl`` that asks whether one flight will be late."""
    body = json.dumps({"model": MODEL, "instances": [SAMPLE_INSTANCE]})
    return (
        f"  curl -s {gateway_url}/predict -H 'Authorization: Bearer {api_key}' \\\n"
        f"    -H 'Content-Type: application/json' \\\n"
        f"    -d '{body}'"
    )
