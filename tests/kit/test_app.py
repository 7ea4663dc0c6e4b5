"""What every service answers, whatever it does."""

import errno
import gzip
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from typing import Annotated

import httpx
import pytest
from fastapi import APIRouter, FastAPI, Query
from pydantic import BaseModel, Field, SecretStr, model_validator

from contracts.identity import Caller
from contracts.problems import ProblemCode
from kit.app import create_app
from kit.identity import needs
from kit.problems import Problem
from kit.settings import ServiceSettings

TOKEN = {"x-leadline-service-token": "inside"}


class Order(BaseModel):
    price: float
    tags: Annotated[tuple[str, ...], Field(min_length=1)] = ("plain",)

    @model_validator(mode="after")
    def _is_dear(self) -> "Order":
        if self.price < 0:
            raise ValueError("nobody is paid for taking it")
        return self


router = APIRouter()


@router.get("/fails")
async def fails() -> None:
    raise ZeroDivisionError("secret detail")


@router.get("/full/{kind}")
async def full(kind: str) -> None:
    if kind == "file":
        raise OSError(errno.ENOSPC, "No space left on device")
    with closing(sqlite3.connect(":memory:")) as database, database:
        database.execute("PRAGMA max_page_count=1")
        try:
            database.execute("CREATE TABLE t (x)")
            database.execute("INSERT INTO t VALUES (zeroblob(100000))")
        except sqlite3.OperationalError as error:
            raise RuntimeError("as SQLAlchemy says it") from error


@router.get("/refuses")
async def refuses() -> None:
    raise Problem(ProblemCode.OVERLOADED, "Try later.")


@router.get("/orders")
async def all_orders(shop: str = "", at_most: Annotated[int, Query(alias="limit")] = 9) -> str:
    return shop * at_most


@router.get("/v2/orders")
async def orders_of_a_protocol() -> list[str]:
    return []


@router.post("/orders")
async def orders(order: Order, caller: Annotated[Caller, needs("registry:write")]) -> str:
    return f"{caller.principal} {order.price}"


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    missing = ["a routing table"]

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield

    app = create_app(
        "test",
        "A test.",
        ServiceSettings(service_token=SecretStr("inside")),
        routers=[router],
        lifespan=lifespan,
        ready=lambda: missing,
    )
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


async def test_a_live_process_that_cannot_serve_says_what_is_missing(
    client: httpx.AsyncClient,
) -> None:
    assert (await client.get("/healthz")).json() == {"live": True}
    ready = await client.get("/readyz")
    assert ready.status_code == 503
    assert ready.json() == {"ready": False, "missing": ["a routing table"]}


async def test_metrics_are_prometheus_text(client: httpx.AsyncClient) -> None:
    answer = await client.get("/metrics")
    assert "# TYPE event_loop_lag_seconds gauge" in answer.text


async def test_a_problem_is_answered_as_its_catalogue_says(client: httpx.AsyncClient) -> None:
    answer = await client.get("/refuses")
    body = answer.json()
    assert answer.status_code == 503
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["retry-after"] == "1"
    assert body["code"] == "overloaded"
    assert body["retryable"] is True
    assert body["request_id"] == answer.headers["x-request-id"]


async def test_our_own_fault_tells_nothing(client: httpx.AsyncClient) -> None:
    answer = await client.get("/fails")
    assert answer.status_code == 500
    assert answer.json()["code"] == "internal"
    assert "secret" not in answer.text


@pytest.mark.parametrize("kind", ["file", "database"])
async def test_a_full_disk_asks_the_caller_to_come_again(
    client: httpx.AsyncClient, kind: str
) -> None:
    answer = await client.get(f"/full/{kind}", headers=TOKEN)
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "10"
    assert (answer.json()["code"], answer.json()["retryable"]) == ("dependency-unavailable", True)
    assert "disk" in answer.json()["detail"]


async def test_without_the_service_token_nobody_is_anybody(client: httpx.AsyncClient) -> None:
    forged = {"x-leadline-principal": "admin", "x-leadline-scopes": "admin"}
    answer = await client.post("/orders", json={"price": 1}, headers=forged)
    assert answer.status_code == 401


@pytest.mark.parametrize("kind", ["application/json", "text/plain"])
async def test_the_body_of_who_is_not_proven_is_not_read(
    client: httpx.AsyncClient, kind: str
) -> None:
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        for _ in range(100):
            read += 1
            yield b" " * 1024

    answer = await client.post("/orders", content=endless(), headers={"content-type": kind})
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    assert answer.headers["x-request-id"] == answer.json()["request_id"]
    assert read <= 1


async def test_a_caller_without_the_scope_is_forbidden(client: httpx.AsyncClient) -> None:
    headers = {**TOKEN, "x-leadline-principal": "ann", "x-leadline-scopes": "registry:read"}
    assert (await client.post("/orders", json={"price": 1}, headers=headers)).status_code == 403


async def test_a_caller_with_the_scope_is_known_by_name(client: httpx.AsyncClient) -> None:
    headers = {**TOKEN, "x-leadline-principal": "ann", "x-leadline-scopes": "registry:write"}
    answer = await client.post("/orders", json={"price": 1}, headers=headers)
    assert answer.json() == "ann 1.0"


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 400, "malformed-json"),
        (b'{"price": "x4711"}', 422, "invalid-input"),
        (b'{"price": NaN}', 400, "malformed-json"),
        (b"", 422, "invalid-input"),
    ],
)
async def test_a_bad_body_is_the_callers_problem_and_not_echoed(
    client: httpx.AsyncClient, body: bytes, status: int, code: str
) -> None:
    headers = {**TOKEN, "content-type": "application/json"}
    answer = await client.post("/orders", content=body, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert "4711" not in answer.text


async def test_an_unknown_path_is_a_problem_too(client: httpx.AsyncClient) -> None:
    assert (await client.get("/nowhere")).json()["code"] == "not-found"
    assert "slash too many" not in (await client.get("/")).text
    refused = await client.put("/orders", headers=TOKEN)
    assert refused.json()["code"] == "method-not-allowed"
    assert refused.headers["allow"] == "GET, HEAD, POST"
    assert refused.json()["detail"] == "This path takes GET, HEAD, POST."


async def test_a_slash_too_many_is_told_and_not_sent_elsewhere(client: httpx.AsyncClient) -> None:
    answer = await client.get("/orders/")
    assert (answer.status_code, answer.json()["code"]) == (404, "not-found")
    assert "slash too many" in answer.json()["detail"]
    assert "location" not in answer.headers


async def test_what_can_be_read_can_be_asked_for_its_head(client: httpx.AsyncClient) -> None:
    assert (await client.head("/healthz")).status_code == 200
    assert (await client.head("/readyz")).status_code == 503
    assert (await client.head("/docs")).status_code == 200
    assert (await client.head("/orders")).status_code == 200
    assert (await client.request("OPTIONS", "/orders")).status_code == 405


async def test_a_refusal_says_what_the_schema_wants(client: httpx.AsyncClient) -> None:
    headers = {**TOKEN, "content-type": "application/json"}
    answer = await client.post("/orders", content=b"{}", headers=headers)
    assert answer.json()["detail"] == "Not as the schema wants it: /price (field required)."
    assert answer.json()["errors"] == [{"pointer": "/price", "code": "missing"}]
    answer = await client.post("/orders", content=b"[]", headers=headers)
    assert answer.json()["errors"][0]["pointer"] == ""
    assert answer.json()["detail"] == (
        "Not as the schema wants it: the body (input should be a JSON object)."
    )


async def test_a_refusal_says_what_contradicts_itself_in_the_schemas_words(
    client: httpx.AsyncClient,
) -> None:
    answer = await client.post("/orders", json={"price": -1}, headers=TOKEN)
    assert answer.json()["errors"] == [{"pointer": "", "code": "value-error"}]
    assert answer.json()["detail"] == (
        "Not as the schema wants it: the body (nobody is paid for taking it)."
    )


async def test_a_query_parameter_that_a_call_does_not_know_is_refused(
    client: httpx.AsyncClient,
) -> None:
    assert (await client.get("/orders?shop=a&limit=2")).json() == "aa"
    for query in ("dry_run=true", "shop=a&at_most=2", "Limit=2", "limit=2&x"):
        answer = await client.get(f"/orders?{query}")
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid-input"), query
        assert answer.json()["detail"] == (
            "This call takes the query parameters limit, shop and no others."
        )
    answer = await client.get("/refuses?x=1")
    assert answer.json()["detail"] == "This call takes no query parameters."


async def test_who_watches_and_a_protocol_of_others_may_add_parameters(
    client: httpx.AsyncClient,
) -> None:
    for path in ("/healthz?now=1", "/metrics?name=x", "/v2/orders?verbose=1"):
        assert (await client.get(path)).status_code == 200, path


async def test_a_body_that_does_not_say_it_is_json_is_told_to(client: httpx.AsyncClient) -> None:
    for kind in ("application/x-www-form-urlencoded", "text/plain"):  # curl -d says the first
        headers = {**TOKEN, "content-type": kind}
        answer = await client.post("/orders", content=b'{"price": 1}', headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (415, "unsupported-media-type")
        assert "Content-Type: application/json" in answer.json()["detail"]


async def test_a_compressed_body_is_told_that_it_is_not_taken(client: httpx.AsyncClient) -> None:
    for kind in ("application/json", "application/octet-stream"):
        headers = {**TOKEN, "content-type": kind, "content-encoding": "gzip"}
        body = gzip.compress(b'{"price": 1}')
        answer = await client.post("/orders", content=body, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (415, "unsupported-media-type")
        assert answer.json()["detail"] == "The body is not to be encoded."
    plain = {**TOKEN, "content-encoding": "identity"}
    assert (await client.post("/orders", json={"price": 1}, headers=plain)).status_code == 200


async def test_a_refusal_names_causes_in_the_words_of_json(client: httpx.AsyncClient) -> None:
    answer = await client.post("/orders", json={"price": 1, "tags": []}, headers=TOKEN)
    assert answer.json()["errors"] == [{"pointer": "/tags", "code": "too-short"}]
    assert "/tags (list should have at least 1 item" in answer.json()["detail"]
    answer = await client.post("/orders", json={"price": 1, "tags": [7]}, headers=TOKEN)
    assert answer.json()["errors"] == [{"pointer": "/tags/0", "code": "string-type"}]


async def test_the_documentation_heads_each_call_by_its_first_sentence(
    client: httpx.AsyncClient,
) -> None:
    paths = (await client.get("/openapi.json")).json()["paths"]
    assert paths["/healthz"]["get"]["summary"] == "The process lives"
    assert paths["/readyz"]["get"]["summary"] == "The process can serve"


async def test_the_documentation_loads_nothing_from_elsewhere(client: httpx.AsyncClient) -> None:
    page = await client.get("/docs")
    assert page.status_code == 200
    assert "https://" not in page.text
