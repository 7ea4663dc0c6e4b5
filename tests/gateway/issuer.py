"""An issuer of tokens, and who asks it for its keys."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from fastapi import FastAPI, Response
from fastapi.responses import JSONResponse

from contracts.problems import ProblemCode
from gateway.adapters.jwks_http import FETCH_S_MAX, JwksHttp
from gateway.authenticate import Authenticate
from gateway.domain.keys import KeyRecord
from gateway.settings import Issuer
from kit.clock import FakeClock
from kit.problems import Problem
from kit.tasks import TaskOwner

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


@asynccontextmanager
async def fetching(
    jwks: Jwks, clock: FakeClock, fetch_s_max: float = FETCH_S_MAX
) -> AsyncIterator[JwksHttp]:
    """What asks that issuer for its keys."""
    transport = httpx.ASGITransport(jwks.app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport) as client, TaskOwner() as tasks:
        yield JwksHttp(client, clock, tasks, fresh_s=300, fetch_s_max=fetch_s_max)


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
