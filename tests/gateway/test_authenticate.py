import asyncio
import json
from base64 import urlsafe_b64encode
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.authenticate import Authenticate, credential_in
from gateway.domain.keys import mint_key
from kit.clock import FakeClock, SystemClock
from kit.problems import Problem
from tests.gateway.issuer import PEPPER, FakeRing, Jwks, refused, token


async def test_a_token_is_verified_once_and_known_after(
    authenticate: Authenticate, clock: FakeClock, jwks: Jwks
) -> None:
    shown = token(clock)
    assert authenticate.now(shown) is None
    principal = await authenticate.later(shown)
    assert principal.caller.scopes == {"predict:delay"}
    assert authenticate.now(shown) is principal
    assert jwks.asked == 1


async def test_two_long_names_that_begin_alike_are_two_principals(
    authenticate: Authenticate, clock: FakeClock
) -> None:
    """What the registry answered one of them before is no answer to the other."""
    names = [
        (await authenticate.later(token(clock, sub="x" * 300 + end))).caller.principal
        for end in ("a", "b")
    ]
    assert len(set(names)) == 2
    assert {len(name) for name in names} == {128}


async def test_a_strange_name_travels_in_headers_all_the_same(
    authenticate: Authenticate, clock: FakeClock
) -> None:
    principal = await authenticate.later(token(clock, sub="zoë\r\nx: 1"))
    assert principal.caller.principal == "https://id.example|zo\\xeb\\x0d\\x0ax: 1"


@pytest.mark.parametrize("scope", [7, {"predict": True}, [7, None], False])
async def test_scopes_that_are_neither_text_nor_a_list_of_it_are_none(
    authenticate: Authenticate, clock: FakeClock, scope: object
) -> None:
    assert (await authenticate.later(token(clock, scope=scope))).caller.scopes == frozenset()


async def test_many_tokens_at_once_fetch_the_keys_once(
    authenticate: Authenticate, clock: FakeClock, jwks: Jwks
) -> None:
    tokens = [token(clock, sub=f"p{i}") for i in range(20)]
    await asyncio.gather(*(authenticate.later(each) for each in tokens))
    assert jwks.asked == 1


async def test_a_thousand_who_show_one_new_token_are_one_principal(
    authenticate: Authenticate, clock: FakeClock, jwks: Jwks
) -> None:
    shown = token(clock)
    left = asyncio.create_task(authenticate.later(shown))
    asking = [asyncio.create_task(authenticate.later(shown)) for _ in range(1000)]
    await asyncio.sleep(0)
    left.cancel()  # the one that verifies it
    assert len(set(await asyncio.gather(*asking))) == 1
    assert jwks.asked == 1


async def test_each_who_shows_one_bad_token_is_refused(
    authenticate: Authenticate, clock: FakeClock
) -> None:
    shown = token(clock, aud="other")
    await asyncio.gather(*(refused(authenticate, shown) for _ in range(20)))


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://evil.example"},
        {"aud": "other"},
        {"exp": 1},
        {"exp": None},
        {"aud": None},
        {"sub": None},
        {"iss": None},
        {"nbf": 9_999_999_999},
    ],
)
async def test_a_token_that_is_not_for_us_is_refused(
    authenticate: Authenticate, clock: FakeClock, claims: dict[str, Any]
) -> None:
    await refused(authenticate, token(clock, **claims))


async def test_only_the_pinned_algorithm_is_taken(
    authenticate: Authenticate, clock: FakeClock, jwks: Jwks
) -> None:
    public = b"0123456789" * 8
    await refused(authenticate, token(clock, key=public, algorithm="HS256"))
    await refused(authenticate, token(clock, key=None, algorithm="none"))
    curve = ec.generate_private_key(ec.SECP256R1())
    await refused(authenticate, token(clock, key=curve, algorithm="ES256"))
    assert jwks.asked == 0


async def test_another_key_of_the_same_name_is_refused(
    authenticate: Authenticate, clock: FakeClock
) -> None:
    await refused(authenticate, token(clock, key=rsa.generate_private_key(65537, 2048)))


async def test_a_known_token_ends_when_it_expires(
    authenticate: Authenticate, clock: FakeClock
) -> None:
    shown = token(clock)
    await authenticate.later(shown)
    clock.advance_us(120_000_000)
    await refused(authenticate, shown)


async def test_a_token_that_has_expired_is_told_apart_only_when_it_is_genuine(
    authenticate: Authenticate, clock: FakeClock
) -> None:
    old = token(clock, exp=SystemClock().wall_us() // 1_000_000 - 600)
    with pytest.raises(Problem, match="The token has expired"):
        await authenticate.later(old)
    head, claims, signature = old.split(b".")
    forged = b".".join((head, claims, signature[::-1]))
    with pytest.raises(Problem, match="not valid here"):
        await authenticate.later(forged)


@pytest.mark.parametrize("shown", [b"", b"x", b"a.b.c", b"..", b"\xff.\xff.\xff", b"e30.e30.e30"])
async def test_what_is_no_credential_is_refused(authenticate: Authenticate, shown: bytes) -> None:
    await refused(authenticate, shown)


SEGMENTS = st.one_of(
    st.binary(max_size=30),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=2)
            | st.dictionaries(
                st.sampled_from(["alg", "kid", "iss", "exp", "typ", "crit", "b64"]),
                inner,
                max_size=4,
            )
        ),
        max_leaves=6,
    ).map(lambda value: urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=")),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.tuples(SEGMENTS, SEGMENTS, SEGMENTS))
async def test_any_three_segments_are_refused_as_a_problem(
    authenticate: Authenticate, segments: tuple[bytes, bytes, bytes]
) -> None:
    await refused(authenticate, b".".join(segments))


async def test_a_key_ends_when_it_expires_or_is_revoked(
    authenticate: Authenticate, clock: FakeClock, ring: FakeRing
) -> None:
    now_us = clock.wall_us()
    shown, record = mint_key(
        "test", "ann", ["admin"], pepper=PEPPER, now_us=now_us, expires_us=now_us + 10
    )
    await ring.put(record)
    principal = authenticate.now(shown.encode())
    assert principal is not None
    assert authenticate.now(shown.encode()) is principal
    clock.advance_us(10)
    await refused(authenticate, shown.encode())


def test_credentials_come_from_headers_and_agree() -> None:
    assert credential_in(b"Bearer abc", None) == b"abc"
    assert credential_in(b"bearer  abc ", b"abc") == b"abc"
    assert credential_in(None, b"abc") == b"abc"
    assert credential_in(None, None) == b""
    for authorization, api_key, told in [
        (b"Basic abc", None, "is to be: Bearer"),
        (b"ll_local_a_b_c", None, "is to be: Bearer"),
        (b"Bearer abc", b"abd", "two different keys"),
    ]:
        with pytest.raises(Problem, match=told):
            credential_in(authorization, api_key)


def test_no_credential_and_a_wrong_one_are_told_apart(authenticate: Authenticate) -> None:
    with pytest.raises(Problem, match="No API key came"):
        authenticate.now(b"")
    for wrong in (b"ll_test_0_0_0", b"abc"):
        with pytest.raises(Problem, match="is not valid here"):
            authenticate.now(wrong)
