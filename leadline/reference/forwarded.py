"""What the gateway forwards, as the services behind it describe it: a part of its own document.

The gateway does not import its neighbours and does not ask them: its document is whole while they
are away, and costs its start nothing.
"""

from pathlib import Path
from typing import Any

import orjson

import gateway
from leadline.reference.services import facts, is_reachable
from leadline.state import SERVICES

FORWARDED = Path(gateway.__file__).with_name("forwarded_openapi.json")
_PROBLEM = {"$ref": "#/components/responses/Problem"}
_SCHEMAS = "#/components/schemas/"


def forwarded_openapi() -> str:
    """``paths`` and ``components`` of an OpenAPI document, as JSON.

    Every operation says by ``x-served-by`` who answers it. Names that only have to be unique
    within one service (schemas, operation ids) begin with its name.
    """
    paths: dict[str, Any] = {}
    schemas: dict[str, Any] = {}
    for service in SERVICES:
        if service == "gateway":
            continue
        document = _renamed(facts(service).openapi, service)
        own = _reached(document["paths"], service)
        assert not own.keys() & paths.keys(), "two services answer one path"
        paths |= own
        known = document.get("components", {}).get("schemas", {})
        schemas |= {f"{service}.{name}": known[name] for name in sorted(_used(own, known, service))}
    operations = _lines({path: _lines(methods) for path, methods in paths.items()}, packed=True)
    return f'{{"paths": {operations}, "components": {{"schemas": {_lines(schemas)}}}}}\n'


def _lines(members: dict[str, Any], *, packed: bool = False) -> str:
    """A JSON object with one line a member, so that a change can be read."""
    lines = (
        f"{_pack(name)}: {value if packed else _pack(value)}" for name, value in members.items()
    )
    return "{\n" + ",\n".join(lines) + "\n}"


def _pack(value: Any) -> str:
    return orjson.dumps(value).decode()


def _reached(paths: dict[str, Any], service: str) -> dict[str, Any]:
    kept = {}
    for path, operations in paths.items():
        reached = {
            method: _operation(operation, service)
            for method, operation in operations.items()
            if is_reachable(service, path, method)
        }
        if reached:
            kept[path] = reached
    return kept


def _operation(told: dict[str, Any], service: str) -> dict[str, Any]:
    """One operation; how problems look is said once for all."""
    responses = {
        status: _PROBLEM if "application/problem+json" in answer.get("content", {}) else answer
        for status, answer in told["responses"].items()
    }
    named = {"operationId": f"{service}.{told['operationId']}", "x-served-by": service}
    return {**told, **named, "responses": responses}


def _renamed(part: Any, service: str) -> Any:
    """``part`` with every reference to a schema under the service's name."""
    if isinstance(part, list):
        return [_renamed(one, service) for one in part]
    if not isinstance(part, dict):
        return part
    return {
        name: f"{_SCHEMAS}{service}.{value.removeprefix(_SCHEMAS)}"
        if name == "$ref" and isinstance(value, str) and value.startswith(_SCHEMAS)
        else _renamed(value, service)
        for name, value in part.items()
    }


def _used(part: Any, known: dict[str, Any], service: str) -> set[str]:
    """The names of the schemas that ``part`` refers to, and those that they refer to."""
    found: set[str] = set()
    begin = f"{_SCHEMAS}{service}."
    left = [part]
    while left:
        one = left.pop()
        if isinstance(one, dict):
            left += one.values()
            ref = one.get("$ref")
            if isinstance(ref, str) and ref.startswith(begin):
                name = ref.removeprefix(begin)
                if name not in found:
                    found.add(name)
                    left.append(known[name])
        elif isinstance(one, list):
            left += one
    return found
