"""Query parameters that a call does not know are refused.

A misspelt one must not be as if it had not been written: ``?dryrun=true`` would do the deed.
"""

from collections.abc import Collection

from fastapi import Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from contracts.problems import ProblemCode
from kit.problems import Problem

_FREE_PATHS = "/v2"
"""The Open Inference Protocol has its own rules, and clients that add parameters of theirs."""


async def refuse_unknown_parameters(request: Request) -> None:
    """A FastAPI dependency. Raises ``Problem`` for a parameter that the route does not declare."""
    if not request.scope["query_string"] or request.url.path.startswith(_FREE_PATHS):
        return
    route: APIRoute = request.scope["route"]
    if not _takes_any(route):
        check_parameters(request.query_params.keys(), declared(route.dependant))


def check_parameters(given: Collection[str], known: Collection[str]) -> None:
    """Raises ``Problem`` where ``given`` has a name that is not ``known``; it is not repeated."""
    if set(given) <= set(known):
        return
    listed = f"the query parameters {', '.join(sorted(known))} and no others"
    wanted = listed if known else "no query parameters"
    raise Problem(ProblemCode.INVALID_INPUT, f"This call takes {wanted}.")


def declared(dependant: Dependant) -> set[str]:
    """The query parameters of an endpoint and of what it depends on."""
    own = {one.alias for one in dependant.query_params}
    return own.union(*map(declared, dependant.dependencies))


def _takes_any(route: APIRoute) -> bool:
    """Whether the documentation has a parameter that stands for several (style form, exploded)."""
    own = (route.openapi_extra or {}).get("parameters", [])
    return any(one["in"] == "query" and one.get("explode") for one in own)
