"""The one way a service's HTTP application is built: health, readiness, metrics, problems, docs."""

import inspect
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import count
from typing import Any
from uuid import uuid4

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from fastapi_offline import FastAPIOffline
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Match, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from contracts.identity import REQUEST_ID_HEADER
from contracts.problems import PROBLEM_MEDIA_TYPE, ProblemCode
from kit.disk import disk_refuses
from kit.identity import caller_of, unproven
from kit.json_bodies import JsonBodies
from kit.lean import LeanRoutes, lean_answers, problem_response
from kit.logs import get_logger
from kit.parameters import refuse_unknown_parameters
from kit.problems import Problem, invalid_input, no_such_path
from kit.settings import ServiceSettings
from kit.tasks import TaskOwner
from kit.telemetry import LoopWatchdog, exposition, watch_disk

_log = get_logger(__name__)

Ready = Callable[[], Awaitable[list[str]] | list[str]]
"""Says what is missing before the service can do its job; empty means ready."""
Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]

_PROCESS, _REQUESTS = uuid4().hex[:16], count(1)
_WITHOUT_BODY = frozenset({"GET", "HEAD", "OPTIONS"})
_REQUEST_ID = REQUEST_ID_HEADER.lower().encode()
_BY_STATUS = {
    404: ProblemCode.NOT_FOUND,
    405: ProblemCode.METHOD_NOT_ALLOWED,
    413: ProblemCode.CONTENT_TOO_LARGE,
    415: ProblemCode.UNSUPPORTED_MEDIA_TYPE,
}


def create_app(
    name: str,
    description: str,
    settings: ServiceSettings,
    *,
    routers: Iterable[APIRouter],
    lifespan: Lifespan,
    ready: Ready,
    on_drain: Callable[[], None] = lambda: None,
) -> FastAPI:
    """The application of service ``name``. Constructing does no I/O; ``lifespan`` does.

    ``on_drain`` is called once when the process is told to stop, before its connections close:
    the place to answer whoever waits on purpose (long polls).
    """
    watchdog = LoopWatchdog()
    watch_disk(settings.state_dir.absolute() / name)
    draining = Draining(on_drain)

    @asynccontextmanager
    async def whole_life(app: FastAPI) -> AsyncIterator[None]:
        async with TaskOwner() as tasks, lifespan(app):
            tasks.start("loop_watchdog", watchdog.run, restart=True)
            yield

    routers = list(routers)
    token = settings.service_token.get_secret_value()
    app: FastAPI = FastAPIOffline(
        title=f"Leadline {name}",
        description=description,
        lifespan=whole_life,
        redirect_slashes=False,  # it would name this process, which callers do not reach
        responses=_documented_problems(),
    )
    app.add_middleware(JsonBodies)  # inside the next one, which gives the request its id
    app.add_middleware(IdentityMiddleware, service_token=token)
    app.__class__ = _Service  # FastAPIOffline is a function and makes nothing else than FastAPI
    lean = LeanRoutes(lean_answers(routers), _our_fault)
    assert isinstance(app, _Service)
    app.lean = lean.places
    app.lean_answer = IdentityMiddleware(JsonBodies(lean), token)
    app.state.draining = draining
    vital_signs = _vital_signs(ready, watchdog, draining)
    routers = [vital_signs, *routers]
    for router in routers:
        _summarize(router)
        # who watches may add parameters of its own
        checks = [] if router is vital_signs else [Depends(refuse_unknown_parameters)]
        app.include_router(router, dependencies=checks)
    _answer_problems(app, [route for router in routers for route in router.routes])
    return app


class _Service(FastAPI):
    """Answers lean routes before FastAPI's own layers, which cost more than a look-up."""

    lean: frozenset[tuple[str, str]]
    lean_answer: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (scope["method"], scope["path"]) in self.lean:
            await self.lean_answer(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


def _summarize(router: APIRouter) -> None:
    """Head each call in the documentation by its own first sentence, not by a function's name."""
    for route in router.routes:
        if isinstance(route, APIRoute) and route.summary is None and route.description:
            route.summary = re.split(r"[.:;]\s|\.$", route.description, maxsplit=1)[0]


def _documented_problems() -> dict[int | str, dict[str, Any]]:
    content = {PROBLEM_MEDIA_TYPE: {"schema": {"type": "object"}}}
    return {
        "4XX": {"description": "A problem (RFC 9457).", "content": content},
        "5XX": {"description": "A problem (RFC 9457).", "content": content},
    }


_UNREADY: dict[int | str, dict[str, Any]] = {
    503: {
        "description": "It cannot serve now.",
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["ready", "missing"],
                    "properties": {
                        "ready": {"const": False},
                        "missing": {"type": "array", "minItems": 1, "items": {"type": "string"}},
                    },
                }
            }
        },
    }
}


def new_request_id() -> str:
    """32 hexadecimal digits that no other request of the platform has."""
    return f"{_PROCESS}{next(_REQUESTS):016x}"


class IdentityMiddleware:
    """Gives every request an id and its proven caller (``request.state``); plain ASGI.

    The body of a request without a proven caller is not read: a service would hold as many as come,
    and FastAPI reads one that is not JSON however long it is. ``/v2`` sees to it itself.
    """

    def __init__(self, app: ASGIApp, service_token: str) -> None:
        self._app = app
        self._service_token = service_token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        caller = caller_of(headers, self._service_token)
        given = headers.get(REQUEST_ID_HEADER, "")
        request_id = given if caller is not None and 0 < len(given) <= 64 else new_request_id()
        scope.setdefault("state", {}).update(caller=caller, request_id=request_id)
        if scope["method"] == "HEAD":  # what GET would say; the server leaves the body out
            scope = {**scope, "method": "GET"}

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (_REQUEST_ID, request_id.encode())]
            await send(message)

        brings_body = scope["method"] not in _WITHOUT_BODY and not scope["path"].startswith("/v2")
        if caller is None and brings_body:
            answer = problem_response(Request(scope), unproven())
            await answer(scope, receive, send_with_id)
        else:
            await self._app(scope, receive, send_with_id)


class Draining:
    """Whether the process was told to stop; ``kit.serve`` begins it."""

    def __init__(self, on_drain: Callable[[], None]) -> None:
        self._on_drain = on_drain
        self.begun = False

    def begin(self) -> None:
        """Be unready from now on, and answer who waits; in the event loop, once."""
        if not self.begun:
            self.begun = True
            self._on_drain()


def _vital_signs(ready: Ready, watchdog: LoopWatchdog, draining: Draining) -> APIRouter:
    router = APIRouter(tags=["vital signs"])

    @router.get("/healthz")
    async def healthz() -> dict[str, bool]:
        """The process lives."""
        return {"live": True}

    @router.get("/readyz", responses=_UNREADY)
    async def readyz(response: Response) -> dict[str, Any]:
        """The process can serve; otherwise 503 and what is missing."""
        answer = ready()
        missing = list(await answer if inspect.isawaitable(answer) else answer)
        missing += [reason] if (reason := watchdog.missing()) else []
        missing += ["the process is stopping"] if draining.begun else []
        response.status_code = 503 if missing else 200
        return {"ready": not missing, "missing": missing}

    @router.get("/metrics", response_class=Response)
    async def metrics() -> Response:
        """Prometheus exposition."""
        body, content_type = exposition()
        return Response(body, media_type=content_type)

    return router


def _answer_problems(app: FastAPI, routes: list[BaseRoute]) -> None:
    async def on_problem(request: Request, error: Exception) -> Response:
        assert isinstance(error, Problem)
        return problem_response(request, error)

    async def on_invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return problem_response(request, invalid_input(error.errors()))

    async def on_http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        code = _BY_STATUS.get(error.status_code, ProblemCode.INVALID_INPUT)
        if error.status_code >= 500:
            code = ProblemCode.INTERNAL
        headers, detail = dict(error.headers or {}), code.title
        if code is ProblemCode.NOT_FOUND:
            detail = no_such_path(request.url.path)
        elif code is ProblemCode.METHOD_NOT_ALLOWED:
            # Starlette names the methods of the first route of this path alone.
            headers["allow"] = _methods_of(routes, request) or headers.get("Allow", "")
            detail = f"This path takes {headers['allow']}."
        answer = problem_response(request, Problem(code, detail))
        answer.headers.update(headers)
        return answer

    async def on_ours(request: Request, error: Exception) -> Response:
        response = _our_fault(request, error)
        # Starlette answers these outside the layer that names the request
        response.headers[REQUEST_ID_HEADER] = getattr(request.state, "request_id", "")
        return response

    app.add_exception_handler(Problem, on_problem)
    app.add_exception_handler(RequestValidationError, on_invalid)
    app.add_exception_handler(HTTPException, on_http)
    app.add_exception_handler(Exception, on_ours)


def _methods_of(routes: list[BaseRoute], request: Request) -> str:
    """What ``Allow`` says of the path that was asked for."""
    here = [
        route
        for route in routes
        if isinstance(route, Route) and route.matches(request.scope)[0] is not Match.NONE
    ]
    methods = {method for route in here for method in route.methods or ()}
    return ", ".join(sorted(methods | ({"HEAD"} if "GET" in methods else set())))


def _our_fault(request: Request, error: Exception) -> Response:
    _log.error("request_failed", path=request.url.path, exc_info=error)
    problem = Problem(ProblemCode.INTERNAL, "This is our fault; see logs.")
    if disk_refuses(error):
        detail = "The disk of this service takes nothing more; try again when there is room."
        problem = Problem(ProblemCode.DEPENDENCY_UNAVAILABLE, detail, retry_after_s=10)
    return problem_response(request, problem)
