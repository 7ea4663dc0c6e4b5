"""The service as a whole, over HTTP, with a real stream."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from pydantic import SecretStr

from contracts.identity import SERVICE_TOKEN_HEADER
from kit.clock import write_clock
from monitor.app import Monitor, application
from monitor.settings import MonitorSettings
from tests.monitor.world import MODEL, NOW_US, FakeRegistry, Producer
from tests.polling import until

TOKEN = "t" * 16


@pytest.fixture
async def client(tmp_path: Path, redis_url: str) -> AsyncIterator[httpx.AsyncClient]:
    clock_file = tmp_path / "clock"
    write_clock(clock_file, NOW_US + 1_000_000)
    settings = MonitorSettings(
        state_dir=tmp_path,
        redis_url=redis_url,
        service_token=SecretStr(TOKEN),
        clock_file=clock_file,
        read_block_ms=5,
    )
    monitor = Monitor(settings, FakeRegistry().client())
    app: FastAPI = application(monitor)
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app)
        headers = {SERVICE_TOKEN_HEADER: TOKEN}
        async with httpx.AsyncClient(
            transport=transport, base_url="http://monitor", headers=headers
        ) as client:
            yield client


async def until_counted(client: httpx.AsyncClient, rows: int) -> dict[str, Any]:
    found: list[dict[str, Any]] = []

    async def counted() -> bool:
        body = (await client.get(f"/v1/drift/{MODEL}")).json()
        found[:] = body.get("versions", [])
        return bool(found) and found[0]["rows"] == rows

    await until(counted)
    return found[0]


async def test_served_rows_give_a_ks_test_per_feature(
    client: httpx.AsyncClient, producer: Producer
) -> None:
    assert (await client.get(f"/v1/drift/{MODEL}")).status_code == 404
    producer.send_rows([50] * 10)
    found = await until_counted(client, 500)
    assert found["state"] == "OK"
    distance = found["columns"]["distance"]
    assert distance["counted"] == 500
    assert 0 < distance["pooled_distance"] < 0.1
    assert 0.0 < distance["p"] <= 1.0
    assert len(str(found["baseline_sha256"])) == 64


async def test_labels_are_joined_and_quality_follows(
    client: httpx.AsyncClient, producer: Producer
) -> None:
    batch = producer.batch(300)
    producer.send(batch)
    await until_counted(client, 300)
    labels = [
        {
            "model": MODEL,
            "request_id": request_id.hex(),
            "label": bool(predicted),
            "event_time": "2013-12-02T05:00:00Z",
        }
        for request_id, predicted in zip(
            producer.request_ids[:240], batch.predicted.tolist()[:240], strict=True
        )
    ]
    answer = await client.post("/v1/labels", json={"labels": labels})
    assert answer.json()["outcomes"] == {"joined": 240, "rejected": 0}
    again = await client.post("/v1/labels", json={"labels": labels})
    assert again.json()["outcomes"] == {"unchanged": 240, "rejected": 0}
    quality = (await client.get(f"/v1/quality/{MODEL}")).json()["versions"][0]
    assert quality["accuracy"] == 1.0
    assert quality["n"] == 240
    assert quality["completeness"] == pytest.approx(0.8)
    low, high = quality["accuracy_interval"]
    assert low == pytest.approx(0.984, abs=0.001)
    assert high == 1.0


async def test_without_the_service_token_nothing_is_told(client: httpx.AsyncClient) -> None:
    client.headers.pop(SERVICE_TOKEN_HEADER)
    assert (await client.get(f"/v1/drift/{MODEL}")).status_code == 401
    assert (await client.post("/v1/labels", json={"labels": []})).status_code == 401


async def test_a_window_that_ends_before_it_begins_is_refused(client: httpx.AsyncClient) -> None:
    answer = await client.get(
        f"/v1/drift/{MODEL}?from=2013-12-03T00:00:00Z&until=2013-12-01T00:00:00Z"
    )
    assert answer.status_code == 422


async def test_a_run_on_demand_is_done_soon_and_says_how_far_it_is(
    client: httpx.AsyncClient, producer: Producer
) -> None:
    producer.send_rows([50] * 5)
    await until_counted(client, 250)
    begun = await client.post(f"/v1/drift/{MODEL}/runs?hours=24")
    assert begun.status_code == 202
    url = f"/v1/drift/{MODEL}/runs/{begun.json()['id']}"

    async def done() -> bool:
        return bool((await client.get(url)).json()["state"] == "done")

    await until(done)
    assert (await client.get(url)).json()["result"]["versions"]["2"]["rows"] == 250
    assert (await client.post("/v1/drift/nothing/runs")).status_code == 404


async def test_the_baseline_that_judges_can_be_read(
    client: httpx.AsyncClient, producer: Producer
) -> None:
    producer.send_rows([5])
    await until_counted(client, 5)
    listed = (await client.get("/v1/baselines")).json()["baselines"]
    assert [(one["model"], one["version"], one["state"]) for one in listed] == [
        (MODEL, "2", "ready")
    ]
    profile = (await client.get(f"/v1/baselines/{MODEL}/2")).json()
    assert profile["columns"]["distance"]["kind"] == "numeric"
    assert (await client.get(f"/v1/baselines/{MODEL}/9")).status_code == 404


async def test_before_the_first_night_there_are_no_alerts_and_no_report(
    client: httpx.AsyncClient,
) -> None:
    assert (await client.get("/v1/alerts")).json() == {"alerts": []}
    assert (await client.get(f"/v1/reports/{MODEL}")).status_code == 404
    assert (await client.post("/v1/alerts/0123456789abcdef/ack")).status_code == 404


async def test_labels_that_are_no_labels_are_refused_with_pointers(
    client: httpx.AsyncClient,
) -> None:
    label = {"model": MODEL, "label": 1.0, "event_time": "2013-12-02T05:00:00Z"}
    answer = await client.post("/v1/labels", json={"labels": [label]})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/labels/0"
    assert "names request_id, or unit and predicted_at" in answer.json()["detail"]
    wrongs: list[object] = [None, [], "", "x" * 300]
    for wrong in wrongs:
        body = {"labels": [{**label, "request_id": "a", "label": wrong}]}
        answer = await client.post("/v1/labels", json=body)
        assert answer.json()["errors"] == [{"pointer": "/labels/0/label", "code": "label-type"}]
        assert "a number, true, false or a text" in answer.json()["detail"]
    empty = await client.post("/v1/labels", json={"labels": []})
    assert empty.status_code == 422
    for instant in ("20131202", 1385960400):
        body = {"labels": [{**label, "request_id": "a", "event_time": instant}]}
        answer = await client.post("/v1/labels", json=body)
        assert answer.json()["errors"] == [
            {"pointer": "/labels/0/event_time", "code": "instant-type"}
        ]
        assert (await client.get(f"/v1/drift/{MODEL}?from={instant}")).status_code == 422
    none = await client.post("/v1/labels", json={"labels": {}})
    assert "/labels (input should be a valid array)" in none.json()["detail"]


@pytest.mark.parametrize("path", [f"/v1/drift/{MODEL}", f"/v1/quality/{MODEL}"])
async def test_a_version_or_segment_without_rows_is_no_all_clear(
    client: httpx.AsyncClient, producer: Producer, path: str
) -> None:
    producer.send_rows([50] * 10)
    await until_counted(client, 500)
    assert (await client.get(path, params={"version": "2"})).status_code == 200
    assert (await client.get(path, params={"segment": "origin=EWR"})).status_code == 200
    assert (await client.get(path, params={"version": "99"})).status_code == 404
    wrong = await client.get(path, params={"segment": "origin=LAX"})
    assert wrong.status_code == 404
    assert "origin=EWR, origin=JFK" in wrong.json()["detail"]


async def test_a_window_of_centuries_is_refused_as_too_long(client: httpx.AsyncClient) -> None:
    answer = await client.get(f"/v1/drift/{MODEL}", params={"from": "1500-01-01T00:00Z"})
    assert answer.status_code == 422
    assert "at most 400 days" in answer.json()["detail"]
