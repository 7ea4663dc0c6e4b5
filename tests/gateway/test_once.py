import asyncio

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.frames import Answer
from gateway.domain.exchange import Reply
from gateway.once import _pack, _unpack
from tests.gateway.replica import FakeReplica, echo
from tests.gateway.running import Running
from tests.polling import until

BODY = {"model": "delay", "instances": [{"carrier": "UA"}]}

NAMES = st.binary(min_size=1).filter(lambda name: not name.startswith(b"ratelimit"))


async def ask(gateway: Running, key: str, once: str, body: object = None) -> httpx.Response:
    headers = {"x-api-key": key, "idempotency-key": once, "x-request-timeout-ms": "400"}
    return await gateway.http.post("/predict", json=body or BODY, headers=headers)


async def test_the_same_request_again_gets_the_first_answer_and_costs_no_inference(
    gateway: Running, key: str, replica: FakeReplica
) -> None:
    first = await ask(gateway, key, "a")
    again = await ask(gateway, key, "a")
    assert (again.status_code, again.content) == (200, first.content)
    assert again.headers["idempotent-replay"] == "true"
    assert again.headers["content-type"] == "application/json"
    assert len(replica.asked) == 1
    assert (await ask(gateway, key, "b")).json()["request_id"] != first.json()["request_id"]


async def test_the_same_key_with_another_body_is_a_mismatch(gateway: Running, key: str) -> None:
    await ask(gateway, key, "a")
    other = await ask(gateway, key, "a", {"model": "delay", "instances": [{}]})
    assert (other.status_code, other.json()["code"]) == (422, "idempotency-mismatch")


async def test_the_same_key_asking_for_more_is_a_mismatch(gateway: Running, key: str) -> None:
    await ask(gateway, key, "a")
    headers = {"x-api-key": key, "idempotency-key": "a"}
    more = await gateway.http.post("/predict?explain_features=true", json=BODY, headers=headers)
    assert (more.status_code, more.json()["code"]) == (422, "idempotency-mismatch")


async def test_a_key_of_a_query_that_was_refused_is_no_key_of_the_one_without(
    gateway: Running, key: str
) -> None:
    headers = {"x-api-key": key, "idempotency-key": "a"}
    refused = await gateway.http.post("/predict?explain=true", json=BODY, headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid-input")
    assert (await ask(gateway, key, "a")).json()["code"] == "idempotency-mismatch"


async def test_while_the_first_is_answered_the_second_is_a_conflict(
    gateway: Running, key: str, replica: FakeReplica
) -> None:
    replica.rule = lambda kind, asked: None
    first = asyncio.ensure_future(ask(gateway, key, "a"))
    await until(lambda: len(replica.asked) == 1)
    second = await ask(gateway, key, "a")
    assert (second.status_code, second.json()["code"]) == (409, "conflict")
    assert (await first).status_code == 504
    replica.rule = echo
    assert (await ask(gateway, key, "a")).status_code == 200


async def test_who_leaves_and_asks_again_gets_the_answer_that_was_begun(
    gateway: Running, key: str, replica: FakeReplica
) -> None:
    replica.holds = True
    leaving = asyncio.ensure_future(ask(gateway, key, "a"))
    await until(lambda: len(replica.asked) == 1)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    replica.let_go()

    async def answered() -> bool:
        return (await ask(gateway, key, "a")).status_code == 200

    await until(answered)
    assert (await ask(gateway, key, "a")).headers["idempotent-replay"] == "true"
    assert (len(replica.asked), replica.cancelled) == (1, 0)


async def test_a_fault_of_ours_is_not_kept(
    gateway: Running, key: str, replica: FakeReplica
) -> None:
    replica.rule = lambda kind, asked: Answer(500, b"{}")
    assert (await ask(gateway, key, "a")).status_code == 500
    replica.rule = echo
    assert (await ask(gateway, key, "a")).status_code == 200


async def test_a_model_that_was_not_served_may_be_the_next_time(
    gateway: Running, key: str, replica: FakeReplica
) -> None:
    usual, replica.rule = replica.rule, lambda *_: Answer(404, b"{}")
    assert (await ask(gateway, key, "a")).status_code == 404
    replica.rule = usual
    assert (await ask(gateway, key, "a")).status_code == 200


async def test_a_refusal_of_the_question_is_kept_and_of_the_caller_is_not(
    gateway: Running, key: str
) -> None:
    bad = {"model": "delay", "instances": []}
    assert (await ask(gateway, key, "a", bad)).status_code == 422
    assert (await ask(gateway, key, "a", bad)).headers["idempotent-replay"] == "true"
    assert (await ask(gateway, "ll_x", "a", bad)).status_code == 401
    assert (await ask(gateway, key, "x" * 300)).status_code == 422


@given(
    st.integers(200, 599),
    st.binary(),
    st.lists(st.tuples(NAMES, st.binary())),
)
def test_an_answer_is_kept_as_it_was(
    status: int, body: bytes, headers: list[tuple[bytes, bytes]]
) -> None:
    reply = Reply(status, body, tuple(headers))
    assert _unpack(_pack(reply)) == reply
