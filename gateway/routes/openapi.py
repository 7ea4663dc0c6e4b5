"""The OpenAPI document of everything that callers reach here, whoever answers it."""

import re
from functools import cache
from importlib.resources import files
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from starlette.routing import Route

from gateway.domain.access import OPEN, rule_for, scope_for, scope_words

BESIDE_FASTAPI = ("predict_openapi.json", "forwarded_openapi.json")
"""Parts of the document: what has no route of FastAPI's. The second is made from the services'
own documents by ``python -m leadline.reference``, so that none of them is asked or imported."""
_PARAMETER = re.compile(r"\{\w+\}")
_ABOUT = """
Everything here is reached through the gateway, with an API key in `X-API-Key` or as a bearer token;
press *Authorize* to try a call. Each call names the scope that the key needs. A fault is
`application/problem+json`, explained at `/problems/<code>`; under `/v2` it is `{"error": "…"}`.
"""


def document(app: FastAPI) -> None:
    """Have the application's document name everything that the gateway answers or forwards."""
    generate = app.openapi

    @cache
    def openapi() -> dict[str, Any]:
        whole = generate()
        whole["info"]["description"] += "\n" + _ABOUT
        own = whole["paths"]
        whole["paths"] = {}  # in the order in which callers look for them
        for name in BESIDE_FASTAPI:
            part = orjson.loads(files("gateway").joinpath(name).read_bytes())
            whole["paths"].update(part["paths"])
            for kind, components in part.get("components", {}).items():
                whole.setdefault("components", {}).setdefault(kind, {}).update(components)
        whole["paths"].update(own)
        whole["components"]["securitySchemes"] = {
            "ApiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            "Bearer": {"type": "http", "scheme": "bearer"},
        }
        _name_scopes(whole["paths"])
        return whole

    @cache
    def packed() -> bytes:
        return orjson.dumps(openapi())

    async def answer(_: Request) -> Response:
        return Response(packed(), media_type="application/json")

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to extend it
    # Before FastAPI's own, which packs the document again for everybody: 6 ms, and it is open.
    app.router.routes.insert(0, Route("/openapi.json", answer))


def _name_scopes(paths: dict[str, Any]) -> None:
    for path, operations in paths.items():
        rule = rule_for(_PARAMETER.sub("x", path))
        assert rule is not None, path
        for method, operation in operations.items():
            scope = scope_for(rule, method.upper())
            assert scope is not None, (method, path)
            told = operation.get("description") or operation["summary"] + "."
            operation["description"] = f"{told}\n\nScope: {scope_words(scope)}."
            if scope != OPEN:
                operation["security"] = [{"ApiKey": []}, {"Bearer": []}]
