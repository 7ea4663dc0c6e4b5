"""Historical jobs, key histories, audits and definitions over HTTP."""

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kit.clock import FakeClock
from tests.feature_store.over_http import ARROW, NOW, arrival, ask, push, serving
from tests.polling import until


def arrow(rows: list[dict[str, Any]]) -> bytes:
    table = pa.Table.from_pylist(rows)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    data: bytes = sink.getvalue().to_pybytes()
    return data


async def finished(client: httpx.AsyncClient, job: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}

    async def ended() -> bool:
        found.update((await client.get(f"/v1/features/jobs/{job['id']}")).json())
        return found["state"] in ("done", "failed")

    await until(ended)
    return found


@pytest.mark.parametrize("file_format", ["arrow", "parquet"])
async def test_history_is_joined_by_a_job(client: httpx.AsyncClient, file_format: str) -> None:
    await push(client, arrival(30, delay=10), arrival(20, delay=20))
    rows = [{"carrier": c, "asked": NOW + timedelta(minutes=1), "own": 1} for c in ("UA", "ZZ")]
    params = {"feature_refs": ["late_1h:mean"], "at": "asked", "format": file_format}
    url = "/v1/features/historical"
    started = await client.post(url, params=params, content=arrow(rows), headers=ARROW)
    assert started.status_code == 202, started.text
    job = await finished(client, started.json())
    assert (job["state"], job["progress"], job["rows"]) == ("done", 1.0, 2)
    body = (await client.get(job["result"])).content
    table = (
        pa.ipc.open_stream(body).read_all()
        if file_format == "arrow"
        else pq.read_table(pa.BufferReader(body))
    )
    assert table.column_names == [
        "carrier", "asked", "own", "late_1h:mean", "late_1h:mean__status",
    ]  # fmt: skip
    assert table["late_1h:mean"].to_pylist() == [15.0, None]
    assert table["late_1h:mean__status"].to_pylist() == ["PRESENT", "NULL_VALUE"]


async def test_no_labels_make_an_empty_result_of_the_right_types(
    client: httpx.AsyncClient,
) -> None:
    await push(client, arrival(30), arrival(20, carrier="DL"))
    labels = pa.schema([("carrier", "string"), ("asked", pa.timestamp("us", "UTC"))]).empty_table()
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, labels.schema) as writer:
        writer.write_table(labels)
    params = {"feature_refs": ["late_1h:mean", "late_1h:flights", "today:flights"], "at": "asked"}
    body = sink.getvalue().to_pybytes()
    url = "/v1/features/historical"
    started = await client.post(url, params=params, content=body, headers=ARROW)
    job = await finished(client, started.json())
    assert job["state"] == "done", job
    table = pa.ipc.open_stream((await client.get(job["result"])).content).read_all()
    assert len(table) == 0
    assert table.schema.field("late_1h:flights").type == pa.int64()


async def test_a_position_that_the_log_has_not_reached_is_refused_at_once(
    client: httpx.AsyncClient,
) -> None:
    params: dict[str, Any] = {"feature_refs": "late_1h:mean", "at": "asked", "as_of_seq": 10**9}
    row = {"carrier": "UA", "asked": NOW}
    answer = await client.post(
        "/v1/features/historical", params=params, content=arrow([row]), headers=ARROW
    )
    assert answer.status_code == 422
    assert "the log has no position 1000000000; it ends at 0" in answer.json()["detail"]


async def test_a_name_that_is_taken_is_refused_at_once(client: httpx.AsyncClient) -> None:
    row = {"carrier": "UA", "asked": NOW, "late_1h:mean__status": "mine"}
    params = {"feature_refs": ["late_1h:mean"], "at": "asked"}
    answer = await client.post(
        "/v1/features/historical", params=params, content=arrow([row]), headers=ARROW
    )
    assert answer.status_code == 422
    assert "late_1h:mean__status" in answer.json()["detail"]


@pytest.mark.parametrize("path", ["historical", "push", "online"])
@pytest.mark.parametrize(
    ("content", "media_type", "status"),
    [(b"", "application/json", 422), (b"[1]", "application/json", 422), (b"x", "text/plain", 415)],
)
async def test_a_body_that_asks_nothing_is_a_problem(
    client: httpx.AsyncClient, path: str, content: bytes, media_type: str, status: int
) -> None:
    headers = {"content-type": media_type}
    answer = await client.post(f"/v1/features/{path}", content=content, headers=headers)
    assert answer.status_code == status, answer.text


async def test_no_instant_stops_what_applies_the_log(client: httpx.AsyncClient) -> None:
    far = ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z"]
    pushed = await push(client, *(arrival(1, event_time=at) for at in far), arrival(5))
    assert (pushed["accepted"], pushed["applied"]) == (3, True)
    assert (await ask(client, "late_1h:flights", "today:flights"))["today:flights"] == 1
    assert {one["reason"] for one in pushed["quarantined"]} == {"event_time is too far from now"}


@pytest.mark.parametrize(
    "row",
    [
        {"carrier": "UA", "asked": datetime(2025, 3, 30, 12)},  # noqa: DTZ001 - naive on purpose
        {"carrier": "UA", "asked": "2025-03-30T12:00:00Z"},
        {"carrier": 7, "asked": NOW},
        {"asked": NOW},
        {"carrier": "UA", "asked": None},
    ],
)
async def test_labels_that_cannot_be_joined_are_refused_at_once(
    client: httpx.AsyncClient, row: dict[str, Any]
) -> None:
    params = {"feature_refs": ["late_1h:mean"], "at": "asked"}
    answer = await client.post(
        "/v1/features/historical", params=params, content=arrow([row]), headers=ARROW
    )
    assert answer.status_code == 422


async def test_a_key_tells_what_was_known_then_and_now(client: httpx.AsyncClient) -> None:
    await push(client, arrival(60, delay=10))
    await push(client, arrival(50, delay=11))
    at = (NOW - timedelta(minutes=55)).isoformat()
    params = {"carrier": "UA", "number": "7", "at": at}
    found = (await client.get("/v1/features/keys/last_arrival", params=params)).json()
    answers = {when: one["delay"]["value"] for when, one in found["answers"].items()}
    # both rows were ingested only now, so nothing was known then
    assert answers == {"then": None, "then_corrected": 10, "now": 11}
    assert [row["delay"] for row in found["rows"]] == [11, 10]


@pytest.mark.parametrize("tampered", [lambda value: value[:-1] + b"\x01", lambda _: b"garbage"])
async def test_the_audit_finds_a_value_that_was_tampered_with(
    client: httpx.AsyncClient, redis_url: str, tampered: Callable[[bytes], bytes]
) -> None:
    import redis.asyncio

    await push(client, arrival(30), arrival(20, carrier="DL"))
    url = "/v1/features/consistency"
    clean = (await client.get(url, params={"view": "last_arrival"})).json()
    assert (clean["keys"], clean["mismatches_total"], clean["orphans"]) == (2, 0, 0)
    async with redis.asyncio.from_url(redis_url) as raw:
        [key] = [key async for key in raw.scan_iter("ll:fs:{route|*UA*")]
        [(field, value)] = (await raw.hgetall(key)).items()
        assert isinstance(value, bytes)
        await raw.hset(key, field, tampered(value))
        await raw.hset("ll:fs:{route|s2:XX|i1}", field, value)
    dirty = (await client.get(url, params={"view": "last_arrival"})).json()
    assert (dirty["mismatches_total"], dirty["differing_buckets"], dirty["orphans"]) == (1, 1, 1)
    assert dirty["mismatches"] == [["UA", "7"]]


async def test_a_served_row_is_judged_by_integrity_and_freshness_apart(
    client: httpx.AsyncClient, clock: FakeClock
) -> None:
    first = await push(client, arrival(30, delay=10))
    await push(client, arrival(20, delay=30))
    clock.advance_us(1)
    served = {"keys": {"carrier": "UA"}, "at_us": clock.now_us()}
    samples = [
        {**served, "applied_seq": 2, "values": {"late_1h:mean": 20.0}},
        {**served, "applied_seq": first["last_seq"], "values": {"late_1h:mean": 10.0}},
        {**served, "applied_seq": 2, "values": {"late_1h:mean": 10.0}},
    ]
    answer = await client.post("/v1/features/consistency", json={"samples": samples})
    verdicts = [one["late_1h:mean"] for one in answer.json()["verdicts"]]
    assert verdicts == ["match", "stale", "mismatch"]


async def test_definitions_can_be_read_anew(
    tmp_path: Path, redis_url: str, clock: FakeClock
) -> None:
    module = tmp_path / "mine.py"
    text = (
        "from shared_features import *\n"
        "user = Entity('user', {'user': 'int64'})\n"
        "facts = Source('facts', {'user': 'int64', 'x': 'int64', 'y': 'int64'})\n"
        "a = FeatureView('a', user, {'x': 'int64'}, facts)\n"
    )
    module.write_text(text)
    async with serving(tmp_path, redis_url, clock, feature_modules=(str(module),)) as client:
        row = {"user": 1, "x": 2, "y": 3, "event_time": NOW.isoformat()}
        await push(client, row, source="facts")
        module.write_text(text + "b = FeatureView('b', user, {'y': 'int64'}, facts)\n")
        url = "/v1/features/definitions"
        planned = (await client.post(url, json={"dry_run": True})).json()
        assert planned == {"applied": False, "added": ["views b"], "changed": [], "removed": []}
        assert (await client.post(url, json={})).json()["applied"]

        async def filled() -> bool:
            body = {"entity_rows": [{"user": 1}], "feature_refs": ["b:y"]}
            answer = await client.post("/v1/features/online", json=body)
            return answer.status_code == 200 and answer.json()["rows"][0]["b:y"] == 3

        await until(filled)
        for nonsense, told in (("nonsense(", "line 1 is no Python"), ("x = y", "NameError")):
            module.write_text(nonsense)
            refused = await client.post(url, json={})
            assert refused.status_code == 422
            assert told in refused.json()["detail"]


@pytest.mark.parametrize(
    ("call", "body"),
    [
        ("definitions", {"dryrun": True}),
        ("historical", {"entity_rows": [{"carrier": "UA"}], "mode": "event"}),
        ("push", {"source": "arrivals", "rows": [], "wait": "applied"}),
        ("online", {"entity_rows": [{"carrier": "UA"}], "feature_ref": "late_1h:mean"}),
        ("consistency", {"samples": [], "view": "late_1h"}),
    ],
)
async def test_a_member_that_a_body_does_not_have_is_refused(
    client: httpx.AsyncClient, call: str, body: dict[str, Any]
) -> None:
    answer = await client.post(f"/v1/features/{call}", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid-input")


async def test_every_question_about_the_store_is_answered(client: httpx.AsyncClient) -> None:
    await push(client, arrival(10), arrival(1, delay="x"))
    fresh = (await client.get("/v1/features/freshness")).json()
    assert fresh["log_seq"] == 1
    assert fresh["views"]["late_1h"]["behind"] == 0
    assert fresh["views"]["late_1h"]["age_s"] == 600.0
    aside = (await client.get("/v1/features/quarantine")).json()["rows"]
    assert [one["reason"] for one in aside] == ["delay must be a whole number"]
    services = (await client.get("/v1/features/services")).json()["services"]
    one = (await client.get("/v1/features/services/model")).json()
    assert one["fingerprint"] == services["model"]["fingerprint"]
    assert (await client.get("/v1/features/services/none")).status_code == 404
    assert "late_1h" in (await client.get("/v1/features/definitions")).json()["views"]


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({"carrier": "UA"}, "number"),
        ({"carrier": "UA", "number": "x"}, "number must be a whole number"),
        ({"carrier": "UA", "number": str(1 << 63)}, "number is out of range"),
        ({"carrier": "UA", "number": "7", "at": "2025-03-30T01:00:00"}, "at has no zone"),
        ({"carrier": "UA", "number": "7", "when": "now"}, "at, carrier, number and no others"),
    ],
)
async def test_a_key_or_an_instant_that_is_none_is_named(
    client: httpx.AsyncClient, params: dict[str, str], says: str
) -> None:
    answer = await client.get("/v1/features/keys/last_arrival", params=params)
    assert answer.status_code == 422
    assert says in answer.json()["detail"]


@pytest.mark.parametrize(
    "changes", [{"at_us": 1 << 70}, {"applied_seq": 1 << 63}, {"keys": {"carrier": 5}}]
)
async def test_a_sample_that_makes_no_sense_is_refused(
    client: httpx.AsyncClient, changes: dict[str, Any]
) -> None:
    sample = {"keys": {"carrier": "UA"}, "at_us": 1, "applied_seq": 0}
    body = {"samples": [{**sample, "values": {"late_1h:mean": 1.0}, **changes}]}
    assert (await client.post("/v1/features/consistency", json=body)).status_code == 422
