import asyncio
from pathlib import Path
from typing import cast

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.frames import Answer
from contracts.identity import Caller
from gateway.adapters.kept_redis import KeptRedis
from gateway.admit import Admission
from gateway.authenticate import Principal
from gateway.domain.exchange import Preamble, Question, Reply
from gateway.domain.gcra import Policy
from gateway.once import ANSWER_BYTES_MAX, Once, _pack, _unpack
from gateway.ports import StoreAway
from kit.redis_pipeline import Argument, PipelinedRedis
from kit.tasks import TaskOwner
from tests.gateway.replica import FakeReplica, echo
from tests.gateway.running import Running, make_key, running_gateway
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
    assert second.json()["retryable"] is True
    assert second.headers["retry-after"] == "1"
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


async def test_an_answer_too_large_to_keep_frees_its_key(
    gateway: Running, key: str, replica: FakeReplica
) -> None:
    replica.rule = lambda *_: Answer(200, b" " * ANSWER_BYTES_MAX)
    for _ in range(2):
        assert "idempotent-replay" not in (await ask(gateway, key, "a")).headers


async def test_a_refusal_is_kept_only_for_a_row(state: Path, redis_url: str) -> None:
    """It cost none; without end they would fill the memory, and of a key that may not predict."""
    small = make_key(state, "bob", "monitor:read", quota_rows=2, window_s=86_400)
    async with running_gateway(state, redis_url) as gateway:
        kept = []
        for name in ("a", "b", "c"):
            for _ in range(2):
                answer = await ask(gateway, small, name, {"model": 1})
                assert answer.status_code == 422
            kept.append("idempotent-replay" in answer.headers)
    assert kept == [True, True, False]


class Unheard(KeptRedis):
    """Does what it is told; of the first that it is told of each kind nobody hears."""

    def __init__(self, redis: PipelinedRedis) -> None:
        super().__init__(redis)
        self._heard: set[Argument] = set()

    async def _run(self, *command: Argument) -> object:
        done = await super()._run(*command)
        if command[0] not in self._heard:
            self._heard.add(command[0])
            raise StoreAway("no reply in time")
        return done


class Anyone:
    """Lets everybody in."""

    async def principal(self, preamble: Preamble) -> Principal:
        return Principal(Caller("ann", frozenset()), "ann", Policy(1, 1))


@pytest.mark.parametrize(("status", "replayed"), [(200, True), (503, False)])
async def test_a_claim_that_nobody_heard_of_is_settled_too(
    redis_url: str, status: int, replayed: bool
) -> None:
    async def predict(question: Question) -> Reply:
        return Reply(status, b"{}", ())

    connection = PipelinedRedis(redis_url, timeout_ms=2_000)
    await connection.start()
    async with TaskOwner() as tasks:
        once = Once(cast("Admission", Anyone()), predict, Unheard(connection), tasks)

        async def answer() -> Reply:
            return await once(Question("0" * 32, Preamble(), b"{}"), b"a")

        assert (await answer()).status == status
        await until(lambda: not tasks.names)
        again = await answer()
        assert again.status == status
        assert (dict(again.headers).get(b"idempotent-replay") == b"true") is replayed
    await connection.stop()


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
