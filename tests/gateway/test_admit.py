"""Who comes in, where it takes a neighbour to tell."""

import socket
import time
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from tests.gateway.running import running_gateway

TIMEOUT_MS = 150
CALLS = [("POST", "/predict"), ("POST", "/v2/models/delay/infer"), ("GET", "/v1/models")]


@pytest.mark.parametrize(("method", "path"), CALLS)
async def test_an_issuer_that_stands_still_costs_a_caller_no_more_than_it_would_wait(
    state: Path, redis_url: str, method: str, path: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # it connects, and says nothing
        page = f"http://127.0.0.1:{silent.getsockname()[1]}/keys"
        issuer = {
            "issuer": "https://id.example", "audience": "leadline", "jwks_url": page,
            "algorithms": ("ES256",),
        }  # fmt: skip
        claims = {"iss": issuer["issuer"], "aud": "leadline", "sub": "ann", "exp": 4e9}
        secret = ec.generate_private_key(ec.SECP256R1())
        token = jwt.encode(claims, secret, algorithm="ES256", headers={"kid": "k"})
        headers = {"authorization": f"Bearer {token}", "x-request-timeout-ms": str(TIMEOUT_MS)}
        async with running_gateway(state, redis_url, issuers=(issuer,)) as gateway:
            began_s = time.monotonic()
            answer = await gateway.http.request(method, path, headers=headers, json={})
            took_s = time.monotonic() - began_s
    assert answer.status_code == 504
    assert "issuer" in answer.text
    assert took_s < 2.0  # a fetch may take 3
