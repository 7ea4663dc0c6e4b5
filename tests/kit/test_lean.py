"""A lean route answers as FastAPI would, without FastAPI."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import httpx
import pytest
from fastapi import APIRouter, FastAPI, Request, Response
from pydantic import SecretStr

from contracts.identity import PRINCIPAL_HEADER, SCOPES_HEADER, Caller
from contracts.problems import ProblemCode
from kit.app import create_app
from kit.identity import needs
from kit.lean import LeanRoute
from kit.problems import Problem
from kit.settings import ServiceSettings

TOKEN = {"x-leadline-service-token": "inside"}

lean = APIRouter(route_class=LeanRoute)
plain = APIRouter(prefix="/plain")


@lean.post("/echo")
@plain.post("/echo")
async def echo(request: Request, caller: Annotated[Caller, needs("features:read")]) -> Response:
    """Says who called, and what."""
    body = await request.body()
    if body == b'"no"':
        raise Problem(ProblemCode.INVALID_INPUT, "Not this.")
    if body == b'"fault"':
        raise ZeroDivisionError("secret detail")
    return Response(caller.principal.encode() + body, media_type="text/plain")


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    yield


@pytest.fixture
def app() -> FastAPI:
    settings = ServiceSettings(service_token=SecretStr("inside"))
    routers = [lean, plain]
    return create_app("t", "A test.", settings, routers=routers, lifespan=lifespan, ready=list)


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://t") as found:
        yield found


def said(answer: httpx.Response) -> object:
    """The answer without what differs from request to request."""
    if answer.status_code == 200:
        return answer.text
    return {**answer.json(), "instance": "", "request_id": ""}


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b'"yes"', TOKEN, 200),
        (b'"no"', TOKEN, 422),
        (b'"fault"', TOKEN, 500),
        (b"{", TOKEN, 400),
        (b'"yes"', {}, 401),
        (b'"yes"', {**TOKEN, PRINCIPAL_HEADER: "ann", SCOPES_HEADER: "features:write"}, 403),
        (b'"yes"', {**TOKEN, PRINCIPAL_HEADER: "ann", SCOPES_HEADER: "features:read"}, 200),
    ],
)
async def test_both_ways_answer_the_same(
    client: httpx.AsyncClient, body: bytes, headers: dict[str, str], status: int
) -> None:
    sent = {**headers, "content-type": "application/json", "x-request-id": "r1"}
    short = await client.post("/echo", content=body, headers=sent)
    long = await client.post("/plain/echo", content=body, headers=sent)
    assert short.status_code == long.status_code == status
    assert short.headers["content-type"] == long.headers["content-type"]
    named = "r1" if headers else short.headers["x-request-id"]
    assert short.headers.get_list("x-request-id") == [named]
    assert len(long.headers.get_list("x-request-id")) == 1
    assert said(short) == said(long)


async def test_both_ways_refuse_a_query_parameter(client: httpx.AsyncClient) -> None:
    sent = {**TOKEN, "content-type": "application/json", "x-request-id": "r1"}
    short = await client.post("/echo?x=1", content=b'"yes"', headers=sent)
    long = await client.post("/plain/echo?x=1", content=b'"yes"', headers=sent)
    assert short.status_code == long.status_code == 422
    assert said(short) == said(long)


async def test_another_method_is_not_allowed(client: httpx.AsyncClient) -> None:
    assert (await client.get("/echo", headers=TOKEN)).status_code == 405


def test_a_lean_route_is_documented_and_says_its_scope(app: FastAPI) -> None:
    assert app.openapi()["paths"]["/echo"]["post"]["description"] == "Says who called, and what."
    guards = [one.dependant.dependencies for one in lean.routes if isinstance(one, LeanRoute)]
    assert [getattr(one.call, "required_scope", "") for one in guards[0]] == ["features:read"]


def test_a_lean_route_takes_no_parameters() -> None:
    routes = APIRouter(route_class=LeanRoute)

    async def wants(limit: int) -> Response:
        return Response(str(limit))

    with pytest.raises(TypeError, match="no parameters"):
        routes.get("/wants")(wants)
