import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import orjson
import pytest
from structlog.testing import capture_logs

from contracts.frames import Answer, Ask
from tests.gateway.replica import FakeReplica
from tests.gateway.running import Running, make_key, running_gateway
from tests.polling import until

BODY = {"model": "delay", "instances": [{"carrier": "UA"}, {"carrier": "AA"}]}


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


async def ask(gateway: Running, key: str, **options: object) -> httpx.Response:
    return await gateway.http.post("/predict", json=BODY, headers=bearer(key), **options)  # type: ignore[arg-type]


async def test_a_prediction_reaches_the_replica_with_its_caller(
    gateway: Running, key: str, replica: FakeReplica
) -> None:
    headers = {**bearer(key), "x-request-id": "mine-7", "x-request-timeout-ms": "700"}
    for _ in range(2):  # the first goes the ordinary way, the second by the fast lane
        answer = await gateway.http.post(
            "/predict?explain_features=true", json=BODY, headers=headers
        )
        assert answer.status_code == 200
        seen = answer.json()
        assert seen["body"] == BODY
        assert (seen["target"], seen["principal"], seen["headers"]) == ("delay", "ann", "mine-7")
        assert seen["explain"] is True
        assert 0 < seen["remaining_ms"] <= 700
        assert seen["request_id"] == answer.headers["x-request-id"]
        assert seen["traceparent"] == ""
        assert answer.headers["content-type"] == "application/json"


async def test_a_query_that_asks_for_what_there_is_not_is_refused(
    gateway: Running, key: str, replica: FakeReplica
) -> None:
    for query in ("explain=true", "explain_features=yes", "version=2"):
        for _ in range(2):  # by both ways
            answer = await gateway.http.post(f"/predict?{query}", json=BODY, headers=bearer(key))
            assert (answer.status_code, answer.json()["code"]) == (422, "invalid-input")
            assert "explain_features=true" in answer.json()["detail"]
    assert replica.asked == []


async def test_an_answer_is_timed_whichever_way_it_went(
    gateway: Running, key: str, replica: FakeReplica
) -> None:
    async def timed() -> float:
        page = (await gateway.http.get("/metrics")).text
        found = re.search(r"^gateway_predict_seconds_count (\S+)$", page, re.MULTILINE)
        assert found is not None
        return float(found[1])

    before = await timed()
    for headers in ({"connection": "close"}, {}, {}, {"idempotency-key": "7"}):
        answer = await gateway.http.post("/predict", json=BODY, headers=bearer(key) | headers)
        assert answer.status_code == 200
    assert await timed() == before + 4


async def test_a_request_id_of_any_bytes_goes_on_as_it_came(
    gateway: Running, key: str, replica: FakeReplica
) -> None:
    for _ in range(2):  # by both ways
        headers = {**bearer(key), "x-request-id": b"\xe9\xff7"}
        answer = await gateway.http.post("/predict", json=BODY, headers=headers)  # type: ignore[arg-type]
        assert answer.status_code == 200
        assert replica.asked[-1].headers == b"\xe9\xff7"


async def test_a_sampled_trace_reaches_the_replica_and_the_log(
    gateway: Running, key: str, replica: FakeReplica
) -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    quiet = trace[:-1] + "0"
    spans = []
    with capture_logs() as lines:
        for given in (trace, quiet, trace):  # the first goes the ordinary way
            answer = await gateway.http.post(
                "/predict", json=BODY, headers=bearer(key) | {"traceparent": given}
            )
            span = answer.headers["x-request-id"][16:]
            assert answer.json()["traceparent"] == f"{trace[:36]}{span}{given[52:]}"
            spans += [span] if given == trace else []
    logged = [line["traceparent"] for line in lines if line["event"] == "answered"]
    assert logged == [f"{trace[:36]}{span}-01" for span in spans]
    assert {line["principal"] for line in lines if line["event"] == "answered"} == {"ann"}


async def test_an_api_key_header_serves_as_well(gateway: Running, key: str) -> None:
    answer = await gateway.http.post("/predict", json=BODY, headers={"x-api-key": key})
    assert answer.status_code == 200


REFUSED = [
    {},
    {"authorization": "Bearer ll_test_0_1_2"},
    {"authorization": "Bearer"},
    {"authorization": "Basic YTpi"},
    {"authorization": "Bearer a.b.c"},
    {"authorization": "Bearer \xe9"},
]


async def test_a_refused_caller_costs_no_inference(gateway: Running, replica: FakeReplica) -> None:
    for headers in REFUSED * 2:
        raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
        answer = await gateway.http.post("/predict", json=BODY, headers=raw)
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated"), headers
        assert answer.headers["www-authenticate"].startswith("Bearer")
    assert replica.asked == []


async def test_two_different_credentials_are_none(gateway: Running, key: str) -> None:
    headers = {**bearer(key), "x-api-key": "ll_test_0_1_2"}
    answer = await gateway.http.post("/predict", json=BODY, headers=headers)
    assert answer.status_code == 401


async def test_a_key_in_the_query_opens_nothing(gateway: Running, key: str) -> None:
    answer = await gateway.http.post(f"/predict?api_key={key}", json=BODY)
    assert answer.status_code == 401


async def test_a_key_opens_the_models_of_its_scopes_only(
    state: Path, redis_url: str, replica: FakeReplica
) -> None:
    narrow = make_key(state, "bob", "predict:other")
    reader = make_key(state, "eve", "monitor:read")
    async with running_gateway(state, redis_url, inference_frames=(replica.address,)) as gateway:
        await until(lambda: replica._writers != set())
        for _ in range(2):
            assert (await ask(gateway, narrow)).status_code == 403
            assert (await ask(gateway, reader)).status_code == 403
        body = {**BODY, "model": "other"}
        answer = await gateway.http.post("/predict", json=body, headers=bearer(narrow))
        assert answer.status_code == 200
    assert len(replica.asked) == 1


async def test_an_unknown_model_is_the_replicas_404(gateway: Running, key: str) -> None:
    body = {**BODY, "model": "absent"}
    for _ in range(2):
        answer = await gateway.http.post("/predict", json=body, headers=bearer(key))
        assert answer.status_code == 404
        assert answer.headers["content-type"] == "application/problem+json"


BAD = [
    (b"", 400, "malformed-json"),
    (b"{", 400, "malformed-json"),
    (b'{"model":"m","instances":[{"x":NaN}]}', 400, "malformed-json"),
    (b'{"model":"m","instances":[{"x":1e400}]}', 400, "malformed-json"),
    (b'{"model":"m","instances":[{"x":1,"x":2}]}', 400, "malformed-json"),
    (b"[]", 422, "invalid-input"),
    (b'{"model":"m","instances":[]}', 422, "invalid-input"),
    (b'{"model":"m","instances":[{"x":[]}]}', 422, "invalid-input"),
]


async def test_a_bad_envelope_is_refused_by_the_catalogue(
    gateway: Running, key: str, replica: FakeReplica
) -> None:
    for content, status, code in BAD * 2:
        answer = await gateway.http.post("/predict", content=content, headers=bearer(key))
        assert (answer.status_code, answer.json()["code"]) == (status, code), content
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["request_id"] == answer.headers["x-request-id"]
    assert replica.asked == []


async def test_a_long_body_costs_the_rows_that_the_replica_counts(
    state: Path, redis_url: str, replica: FakeReplica
) -> None:
    def count(_: int, ask: Ask) -> Answer:
        return Answer(422 if b"bad" in ask.body else 200, b"{}", rows=50 * (b"no" not in ask.body))

    replica.rule = count
    small = make_key(state, "bob", "predict", quota_rows=50_000, window_s=500_000)
    async with running_gateway(state, redis_url, inference_frames=(replica.address,)) as gateway:

        async def left_after(text: str) -> int:
            document = {"model": "delay", "instances": [{"text": text, "fill": "x" * 100}] * 50}
            answer = await gateway.http.post("/predict", json=document, headers=bearer(small))
            return int(answer.headers["ratelimit"].split(";")[1][2:])

        async def covered() -> bool:  # without a lease it is read, to know how much to ask for
            await left_after("fine{{")
            return replica.asked[-1].rows_max == 150

        await until(covered)
        left = [await left_after(text) for text in ("fine", "fine{{", "bad", "bad{{", "no")]
    assert [left[0] - now for now in left[1:]] == [50, 100, 150, 150]


async def test_a_limit_is_spent_by_rows_and_not_by_braces(
    state: Path, redis_url: str, replica: FakeReplica
) -> None:
    replica.rule = lambda _, ask: Answer(200, b"{}", rows=ask.rows_max)
    small = make_key(state, "bob", "predict", quota_rows=60, window_s=3_000)
    document = {"model": "delay", "instances": [{"text": "{{", "fill": "x" * 100}] * 50}
    async with running_gateway(state, redis_url, inference_frames=(replica.address,)) as gateway:
        answer = await gateway.http.post("/predict", json=document, headers=bearer(small))
        assert answer.status_code == 200
        broken = orjson.dumps(document)[:-1]
        answer = await gateway.http.post("/predict", content=broken, headers=bearer(small))
        assert (answer.status_code, answer.json()["code"]) == (400, "malformed-json")
    assert [ask.rows_max for ask in replica.asked] == [0]


async def test_a_time_out_that_is_none_is_refused(gateway: Running, key: str) -> None:
    for given in ("0", "-1", "1.5", "x", "60001", "9" * 30, "0600001"):
        headers = {**bearer(key), "x-request-timeout-ms": given}
        answer = await gateway.http.post("/predict", json=BODY, headers=headers)
        assert answer.status_code == 422, given


async def test_other_methods_are_not_allowed(gateway: Running, key: str) -> None:
    for method in ("GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"):
        answer = await gateway.http.request(method, "/predict", json=BODY, headers=bearer(key))
        assert answer.status_code == 405, method
        assert answer.headers["allow"] == "POST"
        assert method == "HEAD" or answer.json()["detail"] == "This path takes POST."


async def test_what_arrives_together_goes_on_together(
    gateway: Running, key: str, replica: FakeReplica
) -> None:
    await asyncio.gather(*(ask(gateway, key) for _ in range(40)))
    replica.reads.clear()
    answers = await asyncio.gather(*(ask(gateway, key) for _ in range(40)))
    assert {answer.status_code for answer in answers} == {200}
    ids = {answer.json()["request_id"] for answer in answers}
    assert len(ids) == 40
    assert sum(replica.reads) == 40
    assert len(replica.reads) < 40


async def test_an_idle_gateway_sends_at_once(gateway: Running, key: str) -> None:
    loop = asyncio.get_running_loop()
    for _ in range(3):
        await ask(gateway, key)
    best_s = 1.0
    for _ in range(20):
        began_s = loop.time()
        await ask(gateway, key)
        best_s = min(best_s, loop.time() - began_s)
    assert best_s < 0.02  # a delay to gather more would be seen here


async def test_a_late_answer_is_a_504_and_is_cancelled(
    gateway: Running, key: str, replica: FakeReplica
) -> None:
    await ask(gateway, key)
    replica.rule = lambda kind, asked: None
    headers = {**bearer(key), "x-request-timeout-ms": "30"}
    answer = await gateway.http.post("/predict", json=BODY, headers=headers)
    assert (answer.status_code, answer.json()["stage"]) == (504, "inference")
    await until(lambda: replica.cancelled == 1)


@asynccontextmanager
async def left_behind(
    gateway: Running, key: str, replica: FakeReplica, path: str, *, by_the_lane: bool = False
) -> AsyncIterator[None]:
    """A caller who leaves, at the end, without the answer it could wait a minute for."""
    body = orjson.dumps(BODY)
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n"
    head += "Accept: leaver\r\nX-Request-Id: leaver\r\nX-Request-Timeout-Ms: 60000\r\n"
    request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    async with gateway.wire() as wire:
        if by_the_lane:  # a connection's first request goes the ordinary way
            assert b"200 OK" in await wire.ask(request)
        already, replica.holds = len(replica.asked), True
        wire.writer.write(request)
        await until(lambda: len(replica.asked) == already + 1)
        assert b"leaver" in replica.asked[-1].headers
        replica.holds = False
        yield


@pytest.mark.parametrize("by_the_lane", [False, True])
@pytest.mark.parametrize("path", ["/predict", "/v2/models/delay/infer"])
async def test_a_caller_that_leaves_hurts_nobody_and_its_ask_is_given_up(
    gateway: Running, key: str, replica: FakeReplica, path: str, by_the_lane: bool
) -> None:
    await ask(gateway, key)
    async with left_behind(gateway, key, replica, path, by_the_lane=by_the_lane):
        staying = asyncio.gather(*(ask(gateway, key) for _ in range(5)))
    assert {answer.status_code for answer in await staying} == {200}
    await until(lambda: replica.cancelled == 1)
    assert "gateway_in_flight 0.0" in (await gateway.http.get("/metrics")).text
