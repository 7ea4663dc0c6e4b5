"""An issuer's keys are fetched when they are needed, once, and outlive its absence."""

import asyncio
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from contracts.problems import ProblemCode
from gateway.authenticate import Authenticate
from kit.clock import FakeClock, SystemClock
from kit.problems import Problem
from tests.gateway.issuer import ISSUER, RSA, Jwks, fetching, refused, token
from tests.polling import until


async def test_forged_key_names_make_few_fetches(
    authenticate: Authenticate, clock: FakeClock, jwks: Jwks
) -> None:
    for i in range(10):
        await refused(authenticate, token(clock, kid=f"forged{i}"))
    assert jwks.asked == 1


async def test_a_new_key_of_the_issuer_is_found(
    authenticate: Authenticate, clock: FakeClock, jwks: Jwks
) -> None:
    await authenticate.later(token(clock))
    jwks.keys["k2"] = RSA
    clock.advance_us(11_000_000)
    await authenticate.later(token(clock, kid="k2"))
    assert jwks.asked == 2


async def test_the_last_good_keys_serve_while_the_issuer_is_away(
    authenticate: Authenticate, clock: FakeClock, jwks: Jwks
) -> None:
    await authenticate.later(token(clock))
    jwks.away = True
    clock.advance_us(400_000_000)
    fresh = token(clock, exp=SystemClock().wall_us() // 1_000_000 + 3600)
    assert (await authenticate.later(fresh)).caller.may("predict:delay")
    await until(lambda: jwks.asked == 2)


async def test_an_issuer_never_seen_is_a_dependency_away(
    authenticate: Authenticate, clock: FakeClock, jwks: Jwks
) -> None:
    jwks.away = True
    with pytest.raises(Problem) as caught:
        await authenticate.later(token(clock))
    assert caught.value.code is ProblemCode.DEPENDENCY_UNAVAILABLE


async def test_a_token_that_names_a_key_of_another_kind_is_refused(
    authenticate: Authenticate, clock: FakeClock, jwks: Jwks
) -> None:
    curve = ec.generate_private_key(ec.SECP256R1()).public_key()
    jwks.page = {"keys": [{**jwt.algorithms.ECAlgorithm.to_jwk(curve, as_dict=True), "kid": "k1"}]}
    await refused(authenticate, token(clock))


DEEP: list[Any] = []
for _ in range(500):
    DEEP = [DEEP]


@pytest.mark.parametrize("page", [["x"], "x", 7, {"keys": 7}, {"keys": ["x"]}, {"keys": DEEP}])
async def test_a_page_that_is_no_set_of_keys_is_a_dependency_away(
    authenticate: Authenticate, clock: FakeClock, jwks: Jwks, page: Any
) -> None:
    jwks.page = page
    with pytest.raises(Problem) as caught:
        await authenticate.later(token(clock))
    assert caught.value.code is ProblemCode.DEPENDENCY_UNAVAILABLE


async def test_a_key_whose_id_is_no_text_spoils_no_other(
    authenticate: Authenticate, clock: FakeClock, jwks: Jwks
) -> None:
    (key,) = jwks.keys_told()["keys"]
    jwks.page = {"keys": [{**key, "kid": ["k1"]}, key]}
    assert (await authenticate.later(token(clock))).caller.may("predict:delay")


async def test_a_page_that_never_ends_holds_nobody_up(jwks: Jwks, clock: FakeClock) -> None:
    async with fetching(jwks, clock, fetch_s_max=0.2) as keys:
        await keys.key(ISSUER.jwks_url, "k1")
        clock.advance_us(400_000_000)
        jwks.answers.clear()
        async with asyncio.timeout(2):
            assert await keys.key(ISSUER.jwks_url, "k1"), "who needs no new key waits for nobody"
            await until(lambda: jwks.asked == 2)
            with pytest.raises(KeyError):
                await keys.key(ISSUER.jwks_url, "new")
            assert await keys.key(ISSUER.jwks_url, "k1"), "the last good key serves on"


async def test_a_key_that_was_withdrawn_long_ago_is_not_taken_once_more(
    authenticate: Authenticate, clock: FakeClock, jwks: Jwks
) -> None:
    await authenticate.later(token(clock))
    jwks.keys = {"k2": RSA}
    clock.advance_us(3_600_000_000)
    await refused(authenticate, token(clock))


async def test_who_leaves_ends_the_fetch_of_keys_for_nobody_else(
    jwks: Jwks, clock: FakeClock
) -> None:
    jwks.answers.clear()
    async with fetching(jwks, clock) as keys:
        impatient = asyncio.ensure_future(keys.key(ISSUER.jwks_url, "k1"))
        await until(lambda: jwks.asked == 1)
        patient = asyncio.ensure_future(keys.key(ISSUER.jwks_url, "k1"))
        await asyncio.sleep(0)
        impatient.cancel()
        jwks.answers.set()
        assert await patient
        assert jwks.asked == 1
