"""An administrator makes, lists and revokes keys."""

from pathlib import Path
from typing import Any

import pytest

from tests.gateway.running import Running, make_key


@pytest.fixture
def key(state: Path) -> str:
    """An administrator's."""
    return make_key(state, "root", "admin")


async def test_keys_are_made_listed_and_revoked(gateway: Running, key: str) -> None:
    headers = {"x-api-key": key}
    asked = {"principal": "svc", "scopes": ["predict:delay"], "quota_rows": 3, "window_s": 60}
    made = await gateway.http.post("/v1/keys", json=asked, headers=headers)
    assert made.status_code == 201
    own = {"x-api-key": made.json()["key"]}
    body = {"model": "delay", "instances": [{}]}
    first = await gateway.http.post("/predict", json=body, headers=own)
    assert first.status_code == 200
    assert first.headers["ratelimit-policy"] == '"default";q=3;w=60'
    listed = (await gateway.http.get("/v1/keys", headers=headers)).json()["keys"]
    assert [one["principal"] for one in listed] == ["root", "svc"]
    assert "digest" not in listed[0]
    gone = await gateway.http.delete(f"/v1/keys/{made.json()['id']}", headers=headers)
    assert gone.json()["revoked_us"] is not None
    assert (await gateway.http.post("/predict", json=body, headers=own)).status_code == 401


async def test_a_principal_has_two_live_keys_at_most(gateway: Running, key: str) -> None:
    statuses = [
        (
            await gateway.http.post(
                "/v1/keys",
                json={"principal": "svc", "scopes": ["predict"]},
                headers={"x-api-key": key},
            )
        ).status_code
        for _ in range(3)
    ]
    assert statuses == [201, 201, 409]


async def test_a_key_that_makes_no_sense_is_a_422(gateway: Running, key: str) -> None:
    senseless: list[dict[str, Any]] = [
        {},
        {"principal": "x"},
        {"principal": "x", "scopes": ["root"]},
        {"principal": "", "scopes": ["admin"]},
        {"principal": "x", "scopes": ["admin"], "expires_in_s": 0},
        {"principal": "x\n", "scopes": ["admin"]},
    ]
    for asked in senseless:
        answer = await gateway.http.post("/v1/keys", json=asked, headers={"x-api-key": key})
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid-input"), asked
