"""What cannot be answered, or not in time, is refused at once; and nothing else is."""

import asyncio
from pathlib import Path

import httpx
import orjson
from structlog.testing import capture_logs

from gateway.adapters.edge import FAULT_LINES_PER_S_MAX
from tests.gateway.replica import FakeReplica
from tests.gateway.running import Running, make_key, running_gateway
from tests.gateway.test_predict import BODY, ask, bearer
from tests.polling import until


async def test_more_in_flight_than_allowed_is_refused_at_once(
    state: Path, key: str, redis_url: str, replica: FakeReplica
) -> None:
    options = {"inference_frames": (replica.address,), "in_flight_per_key_max": 3}
    async with running_gateway(state, redis_url, **options) as gateway:
        await until(lambda: replica._writers != set())
        replica.rule = lambda kind, asked: None
        headers = {**bearer(key), "x-request-timeout-ms": "300"}
        answers = await asyncio.gather(
            *(gateway.http.post("/predict", json=BODY, headers=headers) for _ in range(8))
        )
        refused = [answer for answer in answers if answer.status_code == 503]
        assert len(refused) == 5
        assert all(answer.headers["retry-after"] == "1" for answer in refused)


async def ask_within(gateway: Running, key: str, ms: int, content: bytes) -> httpx.Response:
    headers = {**bearer(key), "x-request-timeout-ms": str(ms)}
    return await gateway.http.post("/predict", content=content, headers=headers)


async def three_waiting(
    gateway: Running, key: str, replica: FakeReplica
) -> list[asyncio.Task[httpx.Response]]:
    """Asks in flight, after some that took longer behind others than alone."""
    whole = orjson.dumps(BODY)
    for replica.delay_s in (0.06, 0.06):
        assert (await ask_within(gateway, key, 2_000, whole)).status_code == 200
    replica.delay_s = 0.3
    await asyncio.gather(*(ask_within(gateway, key, 2_000, whole) for _ in range(2)))
    waiting = [asyncio.ensure_future(ask_within(gateway, key, 2_000, whole)) for _ in range(3)]
    await until(lambda: len(replica.asked) == 7)
    return waiting


async def test_what_cannot_be_answered_in_time_is_refused_before_it_is_parsed(
    gateway: Running, key: str, replica: FakeReplica
) -> None:
    whole, broken = orjson.dumps(BODY), b'{"model":"delay","instances":[{'
    waiting = await three_waiting(gateway, key, replica)
    for content in (whole, broken):
        hasty = await ask_within(gateway, key, 400, content)
        assert (hasty.status_code, hasty.json()["code"]) == (503, "overloaded")
        assert hasty.headers["retry-after"] == "1"
    patient = await ask_within(gateway, key, 2_000, whole)
    other = await ask_within(gateway, key, 1_000, whole.replace(b"delay", b"other"))
    assert (patient.status_code, other.status_code) == (200, 200)
    assert {answer.status_code for answer in await asyncio.gather(*waiting)} == {200}
    assert len(replica.asked) == 9


async def test_in_an_overload_a_stranger_still_learns_that_it_is_one(
    gateway: Running, key: str, replica: FakeReplica
) -> None:
    waiting = await three_waiting(gateway, key, replica)
    stranger = await ask_within(gateway, key[:-4] + "AAAA", 400, orjson.dumps(BODY))
    assert (stranger.status_code, stranger.json()["code"]) == (401, "unauthenticated")
    known = await ask_within(gateway, key, 400, orjson.dumps(BODY))
    assert known.status_code == 503
    assert {answer.status_code for answer in await asyncio.gather(*waiting)} == {200}


async def test_what_takes_long_on_the_way_and_not_in_the_replica_is_no_queue(
    gateway: Running, key: str, replica: FakeReplica
) -> None:
    replica.spent_s = 0.001
    waiting = await three_waiting(gateway, key, replica)
    hasty = await ask_within(gateway, key, 400, orjson.dumps(BODY))
    assert hasty.status_code != 503
    assert {answer.status_code for answer in await asyncio.gather(*waiting)} == {200}
    assert len(replica.asked) == 8


async def test_refusals_do_not_fill_the_log(
    gateway: Running, key: str, replica: FakeReplica
) -> None:
    await replica.stop()
    with capture_logs() as lines:
        for _ in range(3 * FAULT_LINES_PER_S_MAX):
            assert (await ask(gateway, key)).status_code == 503
    written = [line for line in lines if line["event"] == "answered"]
    assert 0 < len(written) < 3 * FAULT_LINES_PER_S_MAX


async def test_an_idle_gateway_never_refuses(
    gateway: Running, key: str, replica: FakeReplica
) -> None:
    replica.delay_s = 0.3
    whole = orjson.dumps(BODY)
    for _ in range(3):  # whatever was learned of slow answers: nothing is ahead of this one
        assert (await ask_within(gateway, key, 700, whole)).status_code == 200


async def test_without_a_replica_the_answer_is_a_503_at_once(
    gateway: Running, key: str, replica: FakeReplica
) -> None:
    await ask(gateway, key)
    await replica.stop()
    answer = await ask(gateway, key)
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
    assert answer.elapsed.total_seconds() < 0.5  # and not after a time-out
    await replica.start()

    async def answered() -> bool:
        return (await ask(gateway, key)).status_code == 200

    await until(answered)


async def test_what_no_replica_took_costs_nothing(state: Path, redis_url: str) -> None:
    small = make_key(state, "bob", "predict", quota_rows=10, window_s=60)
    async with running_gateway(state, redis_url, inference_frames=("unix:///none",)) as gateway:
        answers = [await ask(gateway, small) for _ in range(8)]
        url = "/v2/models/delay/infer"
        answers.append(await gateway.http.post(url, json=BODY, headers=bearer(small)))
    assert [answer.status_code for answer in answers] == [503] * 9
