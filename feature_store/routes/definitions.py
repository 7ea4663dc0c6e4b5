"""``/v1/features/definitions`` and ``services``: what is defined, and adopting a change of it."""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict

from contracts.identity import Caller
from contracts.problems import ProblemCode
from kit.identity import needs
from kit.problems import Problem
from shared_features import Catalogue, DefinitionError, UnknownRef

Redefine = Callable[[bool], dict[str, list[str]]]
"""Reads the definitions anew and, unless it is a dry run, adopts them; says what differs."""


class Redefinition(BaseModel):
    """Whether to adopt the definitions or only to say what would change."""

    model_config = ConfigDict(extra="forbid")

    dry_run: bool = False


def router(catalogue: Catalogue, redefine: Redefine) -> APIRouter:
    """The routes of definitions."""
    routes = APIRouter(tags=["features"])

    @routes.post("/v1/features/definitions")
    async def apply(
        body: Redefinition, _caller: Annotated[Caller, needs("features:write")]
    ) -> dict[str, Any]:
        """Read the feature modules anew: what that adds, changes and removes. A new or changed
        view is filled from the log; the old one's values stay for models that still read them."""
        try:
            return {"applied": not body.dry_run, **redefine(body.dry_run)}
        except (DefinitionError, UnknownRef) as error:
            detail = f"The definitions cannot stand: {error}"
            raise Problem(ProblemCode.INVALID_INPUT, detail) from error

    @routes.get("/v1/features/definitions")
    async def definitions(_caller: Annotated[Caller, needs("features:read")]) -> dict[str, Any]:
        """Entities, sources, views (with fingerprints), functions and services."""
        return catalogue.describe()

    @routes.get("/v1/features/services")
    async def services(_caller: Annotated[Caller, needs("features:read")]) -> dict[str, Any]:
        """The feature services with their refs and fingerprints."""
        return {"services": catalogue.describe()["services"]}

    @routes.get("/v1/features/services/{name}")
    async def service(name: str, _caller: Annotated[Caller, needs("features:read")]) -> Any:
        """One service's canonical description: what its fingerprint is of."""
        try:
            compiled = catalogue.compile(name)
        except UnknownRef as error:
            raise Problem(ProblemCode.NOT_FOUND, "No feature service has this name.") from error
        return {"fingerprint": compiled.fingerprint, **compiled.json}

    return routes
