"""Rollouts, experiments and webhooks over HTTP: what is asked for is checked before it is done."""

from typing import Any

import httpx
import pytest

from tests.registry.conftest import SPLIT, START, promote, publish, speaking_as


@pytest.fixture
async def two(client: httpx.AsyncClient) -> httpx.AsyncClient:
    """Version 1 serves, version 2 is a candidate."""
    await publish(client, 2.0)
    await publish(client, 3.0)
    await promote(client, "1", "production")
    return client


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"surprise": 1}, "/surprise"),
        ({"plan": {"surprise": 1}}, "/plan/surprise"),
        ({"plan": {"alpha": 2}}, "/plan/alpha"),
        ({"plan": {"task": "regression", "name": "fast"}}, "/plan/"),
        ({"plan": {"steps": [{"weight": 0.5, "bake_s": 1}]}}, "/plan"),
        ({"plan": {"steps": [{"weight": 0.00005, "bake_s": 1}, {"weight": 1, "bake_s": 1}]}},
         "/plan"),
        ({"plan": {"guards": [{"name": "slow", "kind": "latency"}]}}, "/plan/guards/0"),
        ({"plan": {"keep_warm_s": 10**15}}, "/plan/keep_warm_s"),
        ({"plan": {"steps": [{"weight": 1, "bake_s": 10**15}]}}, "/plan/steps/0/bake_s"),
        ({"preset": "reckless"}, "/preset"),
        ({"reason": ""}, "/reason"),
    ],
)  # fmt: skip
async def test_a_setting_that_does_not_exist_or_fit_is_refused(
    two: httpx.AsyncClient, change: dict[str, Any], pointer: str
) -> None:
    answer = await two.post("/v1/rollouts", json={**START, **change})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"].startswith(pointer)
    assert (await two.get("/v1/rollouts")).json()["rollouts"] == []


async def test_a_plan_that_contradicts_itself_is_refused_in_words(two: httpx.AsyncClient) -> None:
    plan = {"steps": [{"weight": 0.5, "bake_s": 1}]}
    answer = await two.post("/v1/rollouts", json={**START, "plan": plan})
    assert "the steps' weights grow and end at 1" in answer.json()["detail"]


async def test_an_endless_name_is_refused_before_it_reaches_the_log(two: httpx.AsyncClient) -> None:
    path = f"/v1/rollouts/{'x' * 1000}/promote"
    headers = {"if-match": "*", **speaking_as("mallory", "predict")}
    answer = await two.post(path, json={"reason": "because i can"}, headers=headers)
    assert answer.status_code == 422
    assert "mallory" not in (await two.get("/v1/audit")).text


async def test_the_careful_preset_is_the_default_and_asks_a_person(two: httpx.AsyncClient) -> None:
    body = {name: value for name, value in START.items() if name != "preset"}
    plan = (await two.post("/v1/rollouts?dry_run=true", json=body)).json()["plan"]
    assert plan["preset"] == "careful"
    assert [step["weight"] for step in plan["steps"]] == [0.05, 0.2, 0.5, 1.0]
    assert {step["bake_s"] for step in plan["steps"]} == {48 * 3600}
    assert plan["approvals"] == [1.0]
    assert (await two.get("/v1/rollouts")).json()["rollouts"] == []


async def test_a_rollout_is_started_once_for_one_key_and_ended_by_its_revision(
    two: httpx.AsyncClient,
) -> None:
    key = {"idempotency-key": "k1"}
    first = await two.post("/v1/rollouts", json=START, headers=key)
    again = await two.post("/v1/rollouts", json=START, headers=key)
    assert first.status_code == 201, first.text
    assert first.json() == again.json()
    page = await two.get("/v1/rollouts/ro-delay-1")
    stale = await two.post(
        "/v1/rollouts/ro-delay-1/abort", json={"reason": "no"}, headers={"if-match": '"99"'}
    )
    assert stale.status_code == 422  # three letters at least: a reason is a reason
    reason = {"reason": "changed my mind"}
    stale = await two.post(
        "/v1/rollouts/ro-delay-1/abort", json=reason, headers={"if-match": '"99"'}
    )
    assert (stale.status_code, stale.json()["current"]["status"]) == (409, "warming")
    ended = await two.post(
        "/v1/rollouts/ro-delay-1/abort", json=reason, headers={"if-match": page.headers["etag"]}
    )
    assert ended.json()["status"] == "aborted"
    listed = await two.get("/v1/rollouts", params={"active": "true"})
    assert listed.json()["rollouts"] == []
    decisions = (await two.get("/v1/rollouts/ro-delay-1/decisions")).json()["decisions"]
    assert decisions[-1]["sentence"] == "Aborted: changed my mind"


@pytest.mark.parametrize("scopes", [("registry:read", "registry:write"), ("predict",), ()])
@pytest.mark.parametrize("deed", ["pause", "resume", "promote", "abort", "override", "rollback"])
async def test_no_verb_is_done_without_its_scope(
    two: httpx.AsyncClient, deed: str, scopes: tuple[str, ...]
) -> None:
    await two.post("/v1/rollouts", json=START)
    answer = await two.post(
        f"/v1/rollouts/ro-delay-1/{deed}",
        json={"reason": "because i can"},
        headers={"if-match": "*", **speaking_as("eve", *scopes)},
    )
    assert answer.status_code == 403
    last = (await two.get("/v1/audit")).json()["entries"][-1]
    assert (last["actor"], last["action"].endswith("_refused")) == ("eve", True)
    assert (last["model"], last["subject"]) == ("delay", "ro-delay-1")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/models/delay/versions/2/transitions", {"to": "archived"}),
        ("/v1/models/delay/versions/2/overrides", {}),
        ("/v1/models/delay/rollback", {}),
        ("/v1/rollouts", {"model": "delay", "version": "2"}),
        ("/v1/experiments/ex-delay-1/stop", {}),
        ("/v1/experiments", {"model": "delay", "plan": SPLIT}),
    ],
)
@pytest.mark.parametrize("match", [{"if-match": "*"}, {"if-match": "what?"}, {}])
async def test_who_has_no_rights_at_all_is_in_the_audit_log_for_trying(
    two: httpx.AsyncClient, path: str, body: dict[str, Any], match: dict[str, str]
) -> None:
    headers = {**match, **speaking_as("mallory", "predict")}
    answer = await two.post(path, json={**body, "reason": "because i can"}, headers=headers)
    assert answer.status_code == 403
    last = (await two.get("/v1/audit")).json()["entries"][-1]
    assert (last["actor"], last["action"].endswith("_refused")) == ("mallory", True)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/models/delay/versions/2/transitions", {"to": "archived"}),
        ("/v1/models/delay/versions/2/overrides", {}),
        ("/v1/rollouts/ro-delay-1/abort", {}),
        ("/v1/rollouts/ro-delay-1/rollback", {}),
        ("/v1/experiments/ex-delay-1/stop", {}),
    ],
)
async def test_who_may_is_told_to_name_the_state_it_was_decided_on(
    two: httpx.AsyncClient, path: str, body: dict[str, Any]
) -> None:
    if "experiments" in path:
        plan = {"model": "delay", "plan": SPLIT, "reason": "which is better?"}
        await two.post("/v1/experiments", json=plan)
    else:
        await two.post("/v1/rollouts", json=START)
    before = (await two.get("/v1/audit/head")).json()["seq"]
    asked = {**body, "reason": "because i may"}
    for match, status in (({}, 428), ({"if-match": "what?"}, 422)):
        answer = await two.post(path, json=asked, headers=match)
        assert answer.status_code == status, answer.text
    assert (await two.get("/v1/audit/head")).json()["seq"] == before


async def test_a_verb_that_does_not_exist_is_refused(two: httpx.AsyncClient) -> None:
    answer = await two.post(
        "/v1/rollouts/ro-delay-1/explode", json={"reason": "boom"}, headers={"if-match": "*"}
    )
    assert answer.status_code == 422


async def test_what_is_rolled_out_cannot_be_moved_by_hand(two: httpx.AsyncClient) -> None:
    await two.post("/v1/rollouts", json=START)
    answer = await promote(two, "2", "shadow")
    assert (answer.status_code, answer.json()["rollout"]) == (409, "ro-delay-1")


async def test_an_override_waits_for_the_replicas_like_everything_else(
    two: httpx.AsyncClient,
) -> None:
    answer = await two.post(
        "/v1/models/delay/versions/2/overrides",
        json={"reason": "an emergency"},
        headers={"if-match": "*"},
    )
    assert (answer.status_code, answer.json()["plan"]["preset"]) == (202, "override")
    route = (await two.get("/v1/routing")).json()["models"]["delay"]
    assert [arm["version"] for arm in route["arms"]] == ["1"]
    back = await two.post("/v1/models/delay/rollback", json={"reason": "was none"})
    assert back.json()["status"] == "rolled_back"


async def test_the_longest_reason_that_is_taken_can_be_read_again(two: httpx.AsyncClient) -> None:
    await two.post("/v1/rollouts", json=START)
    answer = await two.post(
        "/v1/models/delay/versions/2/overrides",
        json={"reason": "x" * 1000},
        headers={"if-match": "*"},
    )
    assert answer.status_code == 202
    listed = (await two.get("/v1/rollouts")).json()["rollouts"]
    assert [one["status"] for one in listed] == ["aborted", "warming"]
    assert (await two.get("/v1/models/delay/history")).status_code == 200


async def test_there_is_nothing_to_take_back_where_nothing_changed(two: httpx.AsyncClient) -> None:
    answer = await two.post("/v1/models/delay/rollback", json={"reason": "just in case"})
    assert answer.status_code == 409


@pytest.mark.parametrize("path", ["rollouts/ro-x-1", "experiments/ex-x-1", "models/none"])
async def test_what_does_not_exist_is_not_found(client: httpx.AsyncClient, path: str) -> None:
    assert (await client.get(f"/v1/{path}")).status_code == 404


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"weight": 0.4}, "weights-must-sum-to-one"),
        ({"version": "1"}, "two-arms-of-one-version"),
        ({"name": "control"}, "two-arms-of-one-name"),
    ],
)
async def test_arms_that_do_not_fit_together_are_refused_with_the_reason(
    two: httpx.AsyncClient, change: dict[str, Any], code: str
) -> None:
    control, new = SPLIT["arms"]
    plan = {**SPLIT, "arms": [control, {**new, **change}]}
    body = {"model": "delay", "plan": plan, "reason": "which is better?"}
    answer = await two.post("/v1/experiments", json=body)
    assert answer.json()["errors"] == [{"pointer": "/plan", "code": code}]


async def test_two_metrics_of_one_name_are_refused(two: httpx.AsyncClient) -> None:
    plan = {**SPLIT, "metrics": SPLIT["metrics"] * 2}
    body = {"model": "delay", "plan": plan, "reason": "which is better?"}
    answer = await two.post("/v1/experiments", json=body)
    assert answer.json()["errors"] == [{"pointer": "/plan", "code": "two-metrics-of-one-name"}]


async def test_an_experiment_is_started_read_and_stopped(two: httpx.AsyncClient) -> None:
    body = {"model": "delay", "plan": SPLIT, "reason": "which is better?"}
    started = await two.post("/v1/experiments", json=body)
    assert (started.status_code, started.json()["status"]) == (201, "warming")
    page = await two.get("/v1/experiments/ex-delay-1")
    stopped = await two.post(
        "/v1/experiments/ex-delay-1/stop",
        json={"reason": "seen enough"},
        headers={"if-match": page.headers["etag"]},
    )
    assert stopped.json()["status"] == "stopped"
    listed = (await two.get("/v1/experiments", params={"model": "delay"})).json()
    assert [one["id"] for one in listed["experiments"]] == ["ex-delay-1"]


async def test_webhooks_are_the_administrators(client: httpx.AsyncClient) -> None:
    body = {"url": "https://127.0.0.1/hook"}
    refused = await client.post("/v1/webhooks", json=body)
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid-input")
    assert "LEADLINE_WEBHOOK_PRIVATE_ADDRESSES=true" in refused.json()["detail"]
    misspelt = {"url": "https://example.com/hook", "actions": ["rollot.start"]}
    refused = await client.post("/v1/webhooks", json=misspelt)
    assert refused.json()["errors"][0]["pointer"] == "/actions/0"
    eve = await client.post(
        "/v1/webhooks", json=body, headers=speaking_as("eve", "registry:promote")
    )
    assert eve.status_code == 403
    assert (await client.get("/v1/webhooks")).json() == {"webhooks": []}
    assert (await client.delete("/v1/webhooks/wh-1")).status_code == 404
