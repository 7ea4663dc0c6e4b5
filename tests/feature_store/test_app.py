"""The service over HTTP, with its real log and a real Redis."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest

from kit.clock import FakeClock
from tests.feature_store.domain.test_arrow_stream import lied
from tests.feature_store.over_http import ARROW, NOW, arrival, ask, push, serving
from tests.polling import until


async def test_what_is_pushed_is_answered_at_once(client: httpx.AsyncClient) -> None:
    pushed = await push(client, arrival(30, delay=10), arrival(20, delay=20), arrival(90, delay=99))
    assert (pushed["accepted"], pushed["quarantined"], pushed["applied"]) == (3, [], True)
    found = await ask(client, "late_1h:flights", "late_1h:mean", "late_1h:taxi", "today:flights")
    assert found["late_1h:flights"] == 2
    assert found["late_1h:mean"] == 15.0
    assert found["late_1h:taxi"] == 1.0
    assert found["today:flights"] == 3
    assert found["late_1h:mean__status"] == "PRESENT"


async def test_a_window_decays_without_events(client: httpx.AsyncClient, clock: FakeClock) -> None:
    await push(client, arrival(30), arrival(20))
    clock.advance_us(30 * 60_000_000 - 1)
    assert (await ask(client, "late_1h:flights"))["late_1h:flights"] == 2
    clock.advance_us(1)
    assert (await ask(client, "late_1h:flights"))["late_1h:flights"] == 1
    clock.advance_us(10 * 60_000_000)
    found = await ask(client, "late_1h:flights", "late_1h:mean")
    assert (found["late_1h:flights"], found["late_1h:mean"]) == (0, None)


async def test_every_dtype_comes_back_as_itself(client: httpx.AsyncClient) -> None:
    row = {
        "carrier": "UA",
        "name": "",
        "fleet": (1 << 53) + 1,
        "founded": "1926-04-06T01:02:03.000004+02:00",
        "low": False,
        "event_time": NOW.isoformat(),
    }
    await push(client, row, source="profile")
    found = await ask(client, "profile:name", "profile:fleet", "profile:founded", "profile:low")
    assert found["profile:name"] == ""
    assert found["profile:fleet"] == (1 << 53) + 1
    assert found["profile:founded"] == "1926-04-05T23:02:03.000004+00:00"
    assert found["profile:low"] is False


async def test_an_arrow_stream_is_taken(client: httpx.AsyncClient) -> None:
    table = pa.Table.from_pylist(
        [{**arrival(1), "event_time": NOW - timedelta(minutes=m)} for m in range(5)]
    )
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    url = "/v1/features/push?source=arrivals&wait=applied"
    answer = await client.post(url, content=sink.getvalue().to_pybytes(), headers=ARROW)
    assert answer.json()["accepted"] == 5
    assert (await ask(client, "late_1h:flights"))["late_1h:flights"] == 5


async def test_an_arrow_stream_that_points_into_other_memory_is_refused(
    client: httpx.AsyncClient,
) -> None:
    body = lied([0, 2_000_000_000])
    for path in ("push?source=arrivals", "historical?feature_refs=late_1h:flights"):
        answer = await client.post(f"/v1/features/{path}", content=body, headers=ARROW)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid-input")


async def test_bad_rows_are_set_aside_and_the_others_apply(client: httpx.AsyncClient) -> None:
    pushed = await push(
        client,
        arrival(1),
        arrival(2, delay=1.5),
        arrival(3, delay=True),
        arrival(4, event_time="2025-03-30T11:00:00"),
        arrival(5, carrier=None),
        arrival(6, colour="red"),
        {"carrier": "UA"},
    )
    assert pushed["accepted"] == 1
    reasons = {one["row"]: one["reason"] for one in pushed["quarantined"]}
    assert set(reasons) == {1, 2, 3, 4, 5, 6}
    assert "offset" in reasons[3]
    assert "null matches nothing" in reasons[4]


async def test_a_row_delivered_again_counts_once(client: httpx.AsyncClient) -> None:
    first = await push(client, arrival(5, event_id="a"), arrival(5, event_id="b"))
    again = await push(client, arrival(5, event_id="a"), arrival(5, event_id="c"))
    assert (first["accepted"], again["accepted"], again["duplicates"]) == (2, 1, 1)
    assert (await ask(client, "late_1h:flights"))["late_1h:flights"] == 3


async def test_a_restarted_service_remembers_what_was_delivered(
    tmp_path: Path, redis_url: str, clock: FakeClock
) -> None:
    async with serving(tmp_path, redis_url, clock) as client:
        await push(client, arrival(5, event_id="a"))
    async with serving(tmp_path, redis_url, clock) as client:
        assert (await push(client, arrival(5, event_id="a")))["duplicates"] == 1
        assert (await ask(client, "late_1h:flights"))["late_1h:flights"] == 1


async def test_a_wiped_store_is_filled_again_without_a_restart(
    client: httpx.AsyncClient, redis_url: str
) -> None:
    import redis.asyncio

    await push(client, arrival(5), arrival(6))
    async with redis.asyncio.from_url(redis_url) as raw:
        await raw.flushall()

    body = {"entity_rows": [{"carrier": "UA"}], "feature_refs": ["late_1h:flights"]}

    async def filled() -> bool:
        answer = await client.post("/v1/features/online", json=body)
        if answer.status_code == 503:  # never a window that looks empty
            return False
        assert answer.json()["rows"][0]["late_1h:flights"] == 2
        return True

    assert not await filled()
    await until(filled)


async def test_a_service_started_without_its_log_takes_no_pushes_until_it_may_begin_anew(
    tmp_path: Path, redis_url: str, clock: FakeClock
) -> None:
    async with serving(tmp_path / "mounted", redis_url, clock) as client:
        await push(client, arrival(5))
    async with serving(tmp_path / "not mounted", redis_url, clock) as client:

        async def missing() -> list[str]:
            told: list[str] = (await client.get("/readyz")).json().get("missing", [])
            return told

        async def lost() -> bool:
            return await missing() == ["the feature log: it was opened empty"]

        async def ready() -> bool:
            return not await missing()

        await until(lost)
        body = {"source": "arrivals", "rows": [arrival(6)]}
        refused = await client.post("/v1/features/push", json=body)
        assert refused.status_code == 503
        assert "bring the log back" in refused.json()["detail"]
        assert (await client.post("/v1/features/materialize")).status_code == 202
        await until(ready)
        await push(client, arrival(6))
        assert (await ask(client, "late_1h:flights"))["late_1h:flights"] == 1


async def test_the_store_is_emptied_and_filled_again_when_asked_to(
    client: httpx.AsyncClient,
) -> None:
    await push(client, arrival(5), arrival(6))
    answer = await client.post("/v1/features/materialize")
    assert (answer.status_code, answer.json()) == (202, {"log_seq": 2})

    async def filled() -> bool:
        views = (await client.get("/v1/features/freshness")).json()["views"]
        return all(view["behind"] == 0 for view in views.values())

    assert not await filled()
    await until(filled)
    assert (await ask(client, "late_1h:flights"))["late_1h:flights"] == 2


async def test_a_function_gets_features_and_request_fields(client: httpx.AsyncClient) -> None:
    row = {"carrier": "UA", "fleet": 4, "event_time": NOW.isoformat()}
    await push(client, row, source="profile")
    assert (await ask(client, "spread:per_plane", distance=100))["spread:per_plane"] == 25.0
    lacking = await client.post(
        "/v1/features/online",
        json={"entity_rows": [{"carrier": "UA"}], "feature_refs": ["spread:per_plane"]},
    )
    assert lacking.status_code == 422
    assert "distance" in lacking.json()["detail"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"entity_rows": [{"carrier": "UA"}], "feature_refs": ["no:such"]}, 404),
        ({"entity_rows": [{"carrier": "UA"}], "feature_service": "none"}, 404),
        ({"entity_rows": [{"carrier": "UA"}]}, 422),
        ({"entity_rows": [{"carrier": "UA"}], "feature_refs": ["late_1h:mean"] * 2}, 422),
        ({"entity_rows": [{"carrier": 7}], "feature_refs": ["late_1h:mean"]}, 422),
        ({"entity_rows": [{}], "feature_refs": ["late_1h:mean"]}, 422),
        ({"entity_rows": [], "feature_refs": ["late_1h:mean"]}, 422),
        ({"entity_rows": [{"carrier": "x"}] * 10_001, "feature_refs": ["late_1h:mean"]}, 422),
    ],
)
async def test_a_question_that_makes_no_sense_is_a_problem(
    client: httpx.AsyncClient, body: dict[str, Any], status: int
) -> None:
    answer = await client.post("/v1/features/online", json=body)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"


async def test_what_is_not_defined_is_answered_with_what_is(client: httpx.AsyncClient) -> None:
    body = {"entity_rows": [{}], "feature_refs": ["late_1h:median"]}
    answer = await client.post("/v1/features/online", json=body)
    assert answer.status_code == 404
    assert "known: late_1h:" in answer.json()["detail"]
    assert "median" not in answer.text


async def test_what_is_wrong_with_a_question_is_pointed_at_and_never_repeated(
    client: httpx.AsyncClient,
) -> None:
    body = {"entity_rows": ["secret"], "feature_refs": ["late_1h:mean"], "more": 1}
    answer = await client.post("/v1/features/online", json=body)
    assert answer.status_code == 422
    assert answer.json()["errors"] == [
        {"pointer": "/entity_rows/0", "code": "dict-type"},
        {"pointer": "/more", "code": "extra-forbidden"},
    ]
    assert "secret" not in answer.text


@pytest.mark.parametrize(
    ("content", "media_type", "status"),
    [
        (b"{", "application/json", 400),
        (b'{"entity_rows": [{"carrier": NaN}]}', "application/json", 400),
        (b"", "application/json", 422),
        (b"[]", "application/json", 422),
        (b"{}", "text/plain", 415),
        (b"{}", "", 415),
    ],
)
async def test_a_body_that_is_no_question_is_a_problem(
    client: httpx.AsyncClient, content: bytes, media_type: str, status: int
) -> None:
    headers = {"content-type": media_type}
    answer = await client.post("/v1/features/online", content=content, headers=headers)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_store_that_is_away_is_an_error_and_pushes_are_kept(
    tmp_path: Path, clock: FakeClock
) -> None:
    away = f"unix://{tmp_path}/none.sock"
    async with serving(tmp_path, away, clock, applied_wait_s=0.05) as client:
        pushed = await push(client, arrival(1))
        assert (pushed["accepted"], pushed["applied"]) == (1, False)
        body = {"entity_rows": [{"carrier": "UA"}], "feature_refs": ["late_1h:flights"]}
        answer = await client.post("/v1/features/online", json=body)
        assert answer.status_code == 503
        assert answer.json()["code"] == "dependency-unavailable"


async def test_a_null_key_matches_nothing(client: httpx.AsyncClient) -> None:
    await push(client, arrival(1))
    found = await ask(client, "last_arrival:delay", "late_1h:flights", carrier=None)
    assert found["last_arrival:delay__status"] == "NOT_FOUND"
    assert found["late_1h:flights"] == 0
