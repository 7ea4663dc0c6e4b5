"""Transitions: lawful, compare-and-set, idempotent, logged."""

from pathlib import Path

import httpx

from contracts.routing import RoutingTable
from kit.clock import FakeClock
from registry.app import build
from tests.registry.conftest import promote, publish, running, settings_for, speaking_as


async def table(client: httpx.AsyncClient) -> RoutingTable:
    return RoutingTable.model_validate((await client.get("/v1/routing")).json())


async def test_the_first_production_version_takes_all_traffic(client: httpx.AsyncClient) -> None:
    await publish(client)
    before = await table(client)
    answer = await promote(client, "1", "production", match='"1"')
    assert answer.status_code == 200, answer.text
    assert answer.json()["revision"] == 2
    after = await table(client)
    assert after.epoch > before.epoch
    assert [(arm.version, arm.weight) for arm in after.models["delay"].arms] == [("1", 1.0)]


async def test_a_shadow_runs_beside_and_takes_no_traffic(client: httpx.AsyncClient) -> None:
    await publish(client, 2.0)
    await publish(client, 3.0)
    await promote(client, "1", "production")
    assert (await promote(client, "2", "shadow")).status_code == 200
    route = (await table(client)).models["delay"]
    assert route.shadows == ("2",)
    assert [arm.version for arm in route.arms] == ["1"]
    assert (await promote(client, "2", "candidate")).status_code == 200
    assert (await table(client)).models["delay"].shadows == ()


async def test_a_stale_if_match_is_a_conflict_that_shows_what_is_current(
    client: httpx.AsyncClient,
) -> None:
    await publish(client)
    await promote(client, "1", "production")
    answer = await promote(client, "1", "archived", match='"1"')
    assert answer.status_code == 409
    assert answer.json()["expected_revision"] == 1
    assert answer.json()["current"]["state"] == "production"


async def test_a_change_must_name_the_state_it_was_decided_on(client: httpx.AsyncClient) -> None:
    await publish(client)
    answer = await client.post(
        "/v1/models/delay/versions/1/transitions", json={"to": "production", "reason": "because"}
    )
    assert answer.status_code == 428


async def test_a_second_production_version_needs_a_rollout(client: httpx.AsyncClient) -> None:
    await publish(client, 2.0)
    await publish(client, 3.0)
    await promote(client, "1", "production")
    answer = await promote(client, "2", "production")
    assert answer.status_code == 409
    assert "rollout" in answer.json()["detail"]


async def test_a_retired_model_answers_nobody_and_comes_back(client: httpx.AsyncClient) -> None:
    await publish(client)
    await promote(client, "1", "production")
    answer = await promote(client, "1", "archived", match='"2"')
    assert (answer.status_code, answer.json()["state"]) == (200, "archived")
    assert (await table(client)).models == {}
    page = (await client.get("/v1/models/delay")).json()
    assert (page["production"], page["route"]) == (None, None)
    last = (await client.get("/v1/audit")).json()["entries"][-1]
    assert (last["before"]["state"], last["after"]["state"]) == ("production", "archived")
    assert (await promote(client, "1", "production")).status_code == 200
    assert [arm.version for arm in (await table(client)).models["delay"].arms] == ["1"]
    champions = (await client.get("/v1/models/delay/history")).json()["champions"]
    assert [one["version"] for one in champions] == ["1", "1"]
    assert [one["until_us"] is None for one in champions] == [False, True]


async def test_a_version_with_a_shadow_beside_it_is_not_retired(client: httpx.AsyncClient) -> None:
    await publish(client, 2.0)
    await publish(client, 3.0)
    await promote(client, "1", "production")
    await promote(client, "2", "shadow")
    answer = await promote(client, "1", "archived")
    assert answer.status_code == 409
    assert "version 2 runs in its shadow" in answer.json()["detail"].lower()
    assert (await promote(client, "2", "candidate")).status_code == 200
    assert (await promote(client, "1", "archived")).status_code == 200


async def test_a_retirement_needs_the_right_to_promote(client: httpx.AsyncClient) -> None:
    await publish(client)
    await promote(client, "1", "production")
    answer = await client.post(
        "/v1/models/delay/versions/1/transitions",
        json={"to": "archived", "reason": "because"},
        headers={"if-match": "*", **speaking_as("eve", "registry:read", "registry:write")},
    )
    assert answer.status_code == 403
    assert list((await table(client)).models) == ["delay"]


async def test_an_unlawful_move_is_a_conflict(client: httpx.AsyncClient) -> None:
    await publish(client)
    answer = await promote(client, "1", "halted")
    assert answer.status_code == 409
    assert "cannot become halted" in answer.json()["detail"]


async def test_promoting_without_permission_is_refused_and_audited(
    client: httpx.AsyncClient,
) -> None:
    await publish(client)
    answer = await client.post(
        "/v1/models/delay/versions/1/transitions",
        json={"to": "production", "reason": "because"},
        headers={"if-match": "*", **speaking_as("eve", "registry:read", "registry:write")},
    )
    assert answer.status_code == 403
    last = (await client.get("/v1/audit")).json()["entries"][-1]
    assert (last["actor"], last["action"]) == ("eve", "transition.production_refused")


async def test_a_repeated_idempotency_key_gets_the_first_answer_and_changes_nothing(
    client: httpx.AsyncClient,
) -> None:
    await publish(client)
    headers = {"if-match": '"1"', "idempotency-key": "k1"}
    body = {"to": "production", "reason": "because"}
    path = "/v1/models/delay/versions/1/transitions"
    first = await client.post(path, json=body, headers=headers)
    again = await client.post(path, json=body, headers=headers)
    assert first.json() == again.json()
    assert again.status_code == 200
    assert (await client.get("/v1/audit/head")).json()["seq"] == 2
    other = await client.post(path, json={**body, "to": "archived"}, headers=headers)
    assert other.json()["code"] == "idempotency-mismatch"


async def test_a_dry_run_shows_the_result_and_keeps_nothing(client: httpx.AsyncClient) -> None:
    await publish(client)
    answer = await client.post(
        "/v1/models/delay/versions/1/transitions?dry_run=true",
        json={"to": "production", "reason": "because"},
        headers={"if-match": "*"},
    )
    assert answer.json()["state"] == "production"
    assert (await table(client)).models == {}
    assert (await client.get("/v1/audit/head")).json()["seq"] == 1


async def test_an_unknown_version_is_not_found(client: httpx.AsyncClient) -> None:
    assert (await promote(client, "7", "production")).status_code == 404


async def test_with_four_eyes_whoever_published_a_version_does_not_promote_it(
    tmp_path: Path, fake_clock: FakeClock
) -> None:
    async with running(build(settings_for(tmp_path, four_eyes=True), fake_clock)) as client:
        everything = ("registry:read", "registry:write", "registry:promote")
        await publish(client, headers=speaking_as("ann", *everything))
        answers = [
            await client.post(
                "/v1/models/delay/versions/1/transitions",
                json={"to": "production", "reason": "it is good"},
                headers={"if-match": "*", **speaking_as(who, *everything)},
            )
            for who in ("ann", "bob")
        ]
        assert [answer.status_code for answer in answers] == [403, 200]
