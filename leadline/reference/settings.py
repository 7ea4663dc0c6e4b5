"""The settings of the services."""

from importlib import import_module
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from kit.settings import ServiceSettings
from leadline.reference.markdown import page, table
from leadline.state import SERVICES


def settings_class(service: str) -> type[ServiceSettings]:
    """The settings of one service."""
    found = [
        value
        for value in vars(import_module(f"{service}.settings")).values()
        if isinstance(value, type)
        and issubclass(value, ServiceSettings)
        and value is not ServiceSettings
    ]
    assert len(found) == 1, service
    return found[0]


def settings_page() -> str:
    """Every setting of every service."""
    shared = ServiceSettings.model_fields
    parts = ["## Every service", "", _settings_table(shared)]
    for service in SERVICES:
        fields = settings_class(service).model_fields
        own = {name: field for name, field in fields.items() if name not in shared}
        parts += [f"## {service}", "", _settings_table(own)]
    intro = (
        "A process reads its settings once, at its start, from the environment. "
        "Lists are comma separated unless the description says JSON."
    )
    return page("Settings", intro, parts)


def _settings_table(fields: dict[str, FieldInfo]) -> str:
    rows = (
        (
            f"`LEADLINE_{name.upper()}`",
            _type_name(field.annotation),
            _default(field),
            _limits(field),
            field.description or "",
        )
        for name, field in fields.items()
    )
    return table(("variable", "type", "default", "limits", "what it does"), rows)


_SPOKEN: dict[Any, str] = {
    str: "text",
    int: "integer",
    float: "number",
    bool: "true or false",
    Path: "path",
    SecretStr: "secret",
}


def _type_name(annotation: Any) -> str:
    parts = get_args(annotation) if type(None) in get_args(annotation) else (annotation,)
    return " or ".join(_part_name(part) for part in parts if part is not type(None))


def _part_name(part: Any) -> str:
    if get_origin(part) is tuple:
        of = get_args(part)[0]
        return "JSON list" if isinstance(of, type) and issubclass(of, BaseModel) else "list"
    return _SPOKEN.get(part) or str(getattr(part, "__name__", part))


def _default(field: FieldInfo) -> str:
    value = field.default
    if isinstance(value, SecretStr) or value in (None, "", ()):
        return ""
    if isinstance(value, tuple):
        return f"`{','.join(map(str, value))}`"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _limits(field: FieldInfo) -> str:
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<", "pattern": "like"}
    found = []
    for rule in field.metadata:
        for name, sign in signs.items():
            limit = getattr(rule, name, None)
            if limit is not None:
                found.append(f"{sign} `{limit}`" if name == "pattern" else f"{sign} {limit}")
    return ", ".join(found)
