import asyncio
import json
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from fastapi import FastAPI, Response
from fastapi.responses import JSONResponse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts.problems import ProblemCode
from gateway.adapters.jwks_http import FETCH_S_MAX, JwksHttp
from gateway.authenticate import Authenticate, credential_in
from gateway.domain.gcra import Policy
from gateway.domain.keys import KeyRecord, mint_key
from gateway.settings import Issuer
from kit.clock import FakeClock, SystemClock
from kit.problems import Problem
from kit.tasks import TaskOwner
from tests.polling import until

PEPPER = b"p" * 32
ISSUER = Issuer(issuer="https://id.example", audience="leadline", jwks_url="http://jwks/keys")
RSA = rsa.generate_private_key(65537, 2048)


class FakeRing:
    """A ``KeyRing`` in memory."""

    pepper = PEPPER

    def __init__(self) -> None:
        self.records: dict[str, KeyRecord] = {}

    def get(self, key_id: str) -> KeyRecord | None:
        return self.records.get(key_id)

    def all(self) -> tuple[KeyRecord, ...]:
        return tuple(self.records.values())

    async def put(self, record: KeyRecord) -> None:
        self.records[record.id] = record


class Jwks:
    """An issuer's key page, real HTTP in memory; counts its visitors and may be away."""

    def __init__(self) -> None:
        self.asked = 0
        self.away = False
        self.keys = {"k1": RSA}
        self.page: Any = None
        """What it shows instead of its keys."""
        self.answers = asyncio.Event()
        """Cleared, what is asked waits."""
        self.answers.set()
        self.app = FastAPI()
        self.app.get("/keys")(self._page)

    async def _page(self) -> Response:
        self.asked += 1
        await asyncio.sleep(0.01)
        await self.answers.wait()
        if self.away:
            raise RuntimeError("away")
        return JSONResponse(self.page or self.keys_told())

    def keys_told(self) -> dict[str, Any]:
        made = []
        for kid, key in self.keys.items():
            text = jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
            made.append({**text, "kid": kid, "use": "sig"})
        return {"keys": made}


@pytest.fixture
def ring() -> FakeRing:
    return FakeRing()


@pytest.fixture
def jwks() -> Jwks:
    return Jwks()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(SystemClock().wall_us())


@asynccontextmanager
async def fetching(
    jwks: Jwks, clock: FakeClock, fetch_s_max: float = FETCH_S_MAX
) -> AsyncIterator[JwksHttp]:
    """What asks that issuer for its keys."""
    transport = httpx.ASGITransport(jwks.app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport) as client, TaskOwner() as tasks:
        yield JwksHttp(client, clock, tasks, fresh_s=300, fetch_s_max=fetch_s_max)


@pytest.fixture
async def authenticate(ring: FakeRing, jwks: Jwks, clock: FakeClock) -> AsyncIterator[Authenticate]:
    async with fetching(jwks, clock) as keys:
        yield Authenticate(ring, keys, [ISSUER], Policy(100, 60), clock)


def token(
    clock: FakeClock, *, key: Any = RSA, kid: str = "k1", algorithm: str = "RS256", **claims: Any
) -> bytes:
    now_s = clock.wall_us() // 1_000_000
    body = {"iss": ISSUER.issuer, "aud": "leadline", "sub": "ann", "exp": now_s + 60,
            "scope": "predict:delay admin:everything openid", **claims}  # fmt: skip
    body = {name: value for name, value in body.items() if value is not None}
    return jwt.encode(body, key, algorithm=algorithm, headers={"kid": kid}).encode()


async def refused(authenticate: Authenticate, shown: bytes) -> None:
    with pytest.raises(Problem) as caught:
        authenticate.now(shown) or await authenticate.later(shown)
    assert caught.value.code is ProblemCode.UNAUTHENTICATED


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
