"""Control calls through the real door to a real HTTP service behind it."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import Request, Response

from contracts.problems import ProblemCode
from gateway.domain.access import OPEN, rule_for, scope_for
from tests.gateway.replica import FakeReplica
from tests.gateway.running import TOKEN, Running, make_key, running_gateway
from tests.polling import until


class Behind:
    """A service behind the gateway: tells what it was told."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []
        self.status = 200
        self.silent = False
        self.endless = False
        self.left = 0
        """Callers that did not wait for the end of what is silent or endless."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        request = Request(scope, receive)
        body = await request.body()
        self.seen.append(
            {
                "method": request.method,
                "url": str(request.url.path) + "?" + request.url.query,
                "headers": dict(request.headers),
                "bytes": len(body),
            }
        )
        if self.silent:
            await self._until_left(receive)
            return
        if self.endless:
            leaving = asyncio.ensure_future(self._until_left(receive))
            await send({"type": "http.response.start", "status": 200})
            while not leaving.done():
                await send({"type": "http.response.body", "body": b"x" * 999, "more_body": True})
                await asyncio.sleep(0)
            return
        headers = {"etag": '"7"', "x-request-id": "theirs", "connection": "keep-alive"}
        await Response(b"pong" * 10_000, self.status, headers)(scope, receive, send)

    async def _until_left(self, receive: Any) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self.left += 1


@asynccontextmanager
async def listening(app: Behind) -> AsyncIterator[str]:
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, log_config=None, access_log=False, ws="none")
    server = uvicorn.Server(config)
    serving = asyncio.get_running_loop().create_task(server.serve([listener]))
    await until(lambda: server.started)
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    server.force_exit = True
    await serving


@pytest.fixture
async def behind(
    state: Path, redis_url: str, replica: FakeReplica
) -> AsyncIterator[tuple[Behind, Running, str]]:
    """A service behind, the gateway before it, and an administrator's key."""
    app = Behind()
    admin = make_key(state, "root", "admin")
    async with (
        listening(app) as url,
        running_gateway(
            state,
            redis_url,
            inference_frames=(replica.address,),
            registry_url=url,
            monitor_url=url,
            feature_store_url="http://127.0.0.1:9",
        ) as gateway,
    ):
        await until(lambda: replica._writers != set())
        yield app, gateway, admin


async def test_a_call_goes_on_in_the_callers_name(behind: tuple[Behind, Running, str]) -> None:
    app, gateway, admin = behind
    headers = {
        "x-api-key": admin,
        "x-leadline-principal": "evil",
        "x-leadline-service-token": "evil",
        "x-forwarded-for": "1.2.3.4",
        "forwarded": "for=1.2.3.4",
        "if-match": '"6"',
        "cookie": "a=b",
    }
    answer = await gateway.http.post(
        "/v1/rollouts/r%201?dry_run=true", json={"a": 1}, headers=headers
    )
    assert (answer.status_code, answer.content) == (200, b"pong" * 10_000)
    assert answer.headers["etag"] == '"7"'
    seen = app.seen[0]
    assert (seen["method"], seen["url"]) == ("POST", "/v1/rollouts/r 1?dry_run=true")
    told = seen["headers"]
    assert told["x-leadline-principal"] == "root"
    assert told["x-leadline-scopes"] == "admin"
    assert told["x-leadline-service-token"] == TOKEN
    assert told["x-request-id"] == answer.headers["x-request-id"]
    assert 0 < int(told["x-leadline-remaining-ms"]) <= 30_000
    assert told["if-match"] == '"6"'
    assert told.keys().isdisjoint(
        {"authorization", "x-api-key", "x-forwarded-for", "forwarded", "cookie"}
    )


async def test_headers_of_any_bytes_go_on(behind: tuple[Behind, Running, str]) -> None:
    app, gateway, admin = behind
    sent = f"GET /v1/models?q=%ff HTTP/1.1\r\nHost: x\r\nX-API-Key: {admin}\r\n".encode()
    sent += b"User-Agent: zo\xeb\xff\r\nX-Request-Id: \xff\r\nConnection: close\r\n\r\n"
    assert b"200 OK" in await gateway.raw(sent)
    assert app.seen[0]["headers"]["user-agent"] == "zo\xeb\xff"


async def test_a_body_that_a_read_brings_stays_here(behind: tuple[Behind, Running, str]) -> None:
    app, gateway, admin = behind
    for framing in (
        b"Content-Length: 5\r\n\r\nhello",
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ):
        sent = f"GET /v1/models HTTP/1.1\r\nHost: x\r\nX-API-Key: {admin}\r\nConnection: close\r\n"
        assert b"200 OK" in await gateway.raw(sent.encode() + framing)
    assert [seen["bytes"] for seen in app.seen] == [0, 0]


async def test_the_services_own_fault_is_passed_on(behind: tuple[Behind, Running, str]) -> None:
    app, gateway, admin = behind
    app.status = 409
    answer = await gateway.http.get("/v1/models", headers={"x-api-key": admin})
    assert answer.status_code == 409


async def test_a_service_that_is_away_is_a_503_for_its_prefix_only(
    behind: tuple[Behind, Running, str],
) -> None:
    _, gateway, admin = behind
    headers = {"x-api-key": admin}
    away = await gateway.http.get("/v1/features/freshness", headers=headers)
    assert (away.status_code, away.json()["code"]) == (503, "dependency-unavailable")
    assert away.headers["retry-after"] == "1"
    assert (await gateway.http.get("/v1/models", headers=headers)).status_code == 200


async def test_a_service_that_is_silent_is_a_504(behind: tuple[Behind, Running, str]) -> None:
    app, gateway, admin = behind
    app.silent = True
    headers = {"x-api-key": admin, "x-request-timeout-ms": "100"}
    late = await gateway.http.get("/v1/models", headers=headers)
    assert (late.status_code, late.json()["stage"]) == (504, "registry")


@pytest.mark.parametrize("endless", [False, True])
async def test_a_call_is_given_up_when_its_caller_hangs_up(
    behind: tuple[Behind, Running, str], endless: bool
) -> None:
    app, gateway, admin = behind
    app.silent, app.endless = not endless, endless
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(f"GET /v1/models HTTP/1.1\r\nHost: x\r\nX-API-Key: {admin}\r\n\r\n".encode())
    await until(lambda: len(app.seen) == 1)
    if endless:
        await reader.readexactly(100_000)
    writer.close()
    await until(lambda: app.left == 1)
    app.silent = app.endless = False
    answer = await gateway.http.get("/v1/models", headers={"x-api-key": admin})
    assert answer.content == b"pong" * 10_000


async def test_a_later_call_of_a_connection_is_given_up_too(
    behind: tuple[Behind, Running, str],
) -> None:
    app, gateway, admin = behind
    call = f"GET /v1/models HTTP/1.1\r\nHost: x\r\nX-API-Key: {admin}\r\n\r\n".encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(call)
    await reader.readuntil(b"pong" * 10_000)
    app.silent = True
    writer.write(call)
    await until(lambda: len(app.seen) == 2)
    writer.close()
    await until(lambda: app.left == 1)


async def test_a_large_artifact_streams_through(behind: tuple[Behind, Running, str]) -> None:
    app, gateway, admin = behind

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(160):
            yield b"x" * 65_536

    answer = await gateway.http.post(
        "/v1/models/delay/versions", content=pieces(), headers={"x-api-key": admin}
    )
    assert answer.status_code == 200
    assert app.seen[0]["bytes"] == 160 * 65_536


async def test_a_caller_without_the_scope_reaches_no_service(
    state: Path, behind: tuple[Behind, Running, str]
) -> None:
    app, gateway, admin = behind
    made = await gateway.http.post(
        "/v1/keys", json={"principal": "eve", "scopes": ["monitor:read"]},
        headers={"x-api-key": admin},
    )  # fmt: skip
    eve = {"x-api-key": made.json()["key"]}
    assert (await gateway.http.get("/v1/drift/delay", headers=eve)).status_code == 200
    assert len(app.seen) == 1
    for method, path in [
        ("GET", "/v1/models"),
        ("POST", "/v1/drift/delay/runs"),
        ("POST", "/v1/labels"),
        ("POST", "/v1/models/delay/versions"),
        ("GET", "/v1/keys"),
        ("POST", "/v1/features/push"),
        ("GET", "/v2"),
    ]:
        answer = await gateway.http.request(method, path, headers=eve)
        assert answer.status_code == 403, path
    assert len(app.seen) == 1


async def test_who_tries_to_promote_reaches_the_registry_in_his_own_name_which_keeps_the_refusal(
    state: Path, behind: tuple[Behind, Running, str]
) -> None:
    app, gateway, admin = behind
    made = await gateway.http.post(
        "/v1/keys", json={"principal": "eve", "scopes": ["predict"]}, headers={"x-api-key": admin}
    )
    eve = {"x-api-key": made.json()["key"]}
    await gateway.http.post("/v1/models/delay/versions/1/transitions", headers=eve)
    told = app.seen[-1]["headers"]
    assert (told["x-leadline-principal"], told["x-leadline-scopes"]) == ("eve", "predict")


async def test_every_route_is_closed_without_a_key(behind: tuple[Behind, Running, str]) -> None:
    _, gateway, _ = behind
    served = {
        (method.upper(), path)
        for path, methods in gateway.gateway.app.openapi()["paths"].items()
        for method in methods
    }
    open_paths = set()
    for method, path in served:
        rule = rule_for(path.replace("{", "").replace("}", ""))
        assert rule is not None, f"{path} is served but is not in the access table"
        scope = scope_for(rule, method)
        assert scope is not None, f"{method} {path} is served but its rule has no such method"
        answer = await gateway.http.request(method, path.replace("{", "").replace("}", ""))
        if scope == OPEN:
            open_paths.add(path)
        else:
            assert answer.status_code == 401, path
    vital = {"/healthz", "/readyz", "/metrics", "/v2/health/live", "/v2/health/ready"}
    assert open_paths == vital | {"/problems", "/problems/{code}"}


async def test_metrics_may_be_closed_to_who_may_not_see_the_monitor(
    tmp_path: Path, redis_url: str
) -> None:
    watcher = make_key(tmp_path, "prometheus", "monitor:read")
    caller = make_key(tmp_path, "app", "predict")
    async with running_gateway(tmp_path, redis_url, metrics_open=False) as gateway:
        statuses = [
            (await gateway.http.get("/metrics", headers=headers)).status_code
            for headers in (
                {},
                {"authorization": f"Bearer {caller}"},
                {"authorization": f"Bearer {watcher}"},
            )
        ]
        assert statuses == [401, 403, 200]
        assert (await gateway.http.get("/healthz")).status_code == 200


async def test_what_no_rule_names_does_not_exist(behind: tuple[Behind, Running, str]) -> None:
    _, gateway, admin = behind
    for path in ("/", "/admin", "/v1", "/v1/nothing", "/internal/routing", "/predict/x", "/v3"):
        answer = await gateway.http.get(path, headers={"x-api-key": admin})
        assert (answer.status_code, answer.json()["code"]) == (404, "not-found"), path


async def test_problem_pages_exist_for_every_code(behind: tuple[Behind, Running, str]) -> None:
    _, gateway, _ = behind
    for code in ProblemCode:
        page = await gateway.http.get(code.type_uri)
        assert page.status_code == 200
        assert code.title in page.text
    assert (await gateway.http.get("/problems/none")).status_code == 404
    assert len((await gateway.http.get("/problems")).json()) == len(ProblemCode)


async def test_documentation_names_the_prediction(behind: tuple[Behind, Running, str]) -> None:
    _, gateway, _ = behind
    document = (await gateway.http.get("/openapi.json")).json()
    assert "post" in document["paths"]["/predict"]
    page = await gateway.http.get("/docs")
    assert page.status_code == 200
    assert "https://" not in page.text  # works offline


async def test_limits_hold_across_control_and_prediction(
    state: Path, behind: tuple[Behind, Running, str]
) -> None:
    _, gateway, admin = behind
    asked = {"principal": "svc", "scopes": ["registry:read"], "quota_rows": 2, "window_s": 60}
    made = await gateway.http.post("/v1/keys", json=asked, headers={"x-api-key": admin})
    own = {"x-api-key": made.json()["key"]}
    answers: list[httpx.Response] = [
        await gateway.http.get("/v1/models", headers=own) for _ in range(3)
    ]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[2].headers["retry-after"] == "30"
