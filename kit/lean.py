"""Routes that are found without FastAPI's router, for answers that cost less than the way there.

    routes = APIRouter(route_class=LeanRoute)

    @routes.post("/v1/features/online")
    async def online(request: Request, caller: Annotated[Caller, needs("features:read")]) -> …

The route stays FastAPI's own: it is documented, and guarded by the dependencies it declares.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.types import Receive, Scope, Send

from kit.parameters import check_parameters
from kit.problems import Problem, invalid_input, problem_body

Answer = Callable[[Request], Awaitable[Response]]


class LeanRoute(APIRoute):
    """A route of a fixed path whose endpoint takes the request and guards, and returns a response.

    Guards are coroutine functions of the request (``kit.identity.needs``). Anything else that
    FastAPI would fill in is a ``TypeError`` when the route is declared.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        super().__init__(path, endpoint, **options)
        wanted = self.dependant
        if (
            wanted.path_params
            or wanted.query_params
            or wanted.header_params
            or wanted.cookie_params
            or wanted.body_params
            or any(guard.dependencies for guard in wanted.dependencies)
        ):
            raise TypeError(f"{path}: a lean route takes the request and guards, no parameters")

    async def answer(self, request: Request) -> Response:
        """What FastAPI would answer; raises what the guards and the endpoint raise."""
        if request.scope["query_string"]:
            check_parameters(request.query_params.keys(), ())
        given: dict[str, Any] = {}
        for guard in self.dependant.dependencies:
            assert guard.call is not None
            found = await guard.call(request)
            if guard.name is not None:
                given[guard.name] = found
        if self.dependant.request_param_name is not None:
            given[self.dependant.request_param_name] = request
        response: Response = await self.endpoint(**given)
        return response


def lean_answers(routers: Iterable[APIRouter]) -> dict[tuple[str, str], Answer]:
    """By method and path: the lean routes among those of ``routers``."""
    return {
        (method, route.path): route.answer
        for router in routers
        for route in router.routes
        if isinstance(route, LeanRoute)
        for method in route.methods or ()
    }


class LeanRoutes:
    """Answers the lean routes, and nothing else; plain ASGI.

    ``our_fault`` answers for exceptions that are nobody's problem but ours, and reports them.
    """

    def __init__(
        self,
        answers: Mapping[tuple[str, str], Answer],
        our_fault: Callable[[Request, Exception], Response],
    ) -> None:
        self._answers = answers
        self._our_fault = our_fault
        self.places = frozenset(answers)
        """Method and path of each."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        try:
            response = await self._answers[scope["method"], scope["path"]](request)
        except Problem as problem:
            response = problem_response(request, problem)
        except RequestValidationError as error:
            response = problem_response(request, invalid_input(error.errors()))
        except Exception as error:  # noqa: BLE001 - the edge that answers
            response = self._our_fault(request, error)
        await response(scope, receive, send)


def problem_response(request: Request, problem: Problem) -> Response:
    """The problem document as the answer to ``request``."""
    request_id = getattr(request.state, "request_id", "")
    body = problem_body(problem, request_id, request.url.path)
    return Response(body, problem.code.status, problem.headers())
