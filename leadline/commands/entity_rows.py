"""Entity rows and keys, as they are written on a command line."""

import json
from collections.abc import Iterator
from typing import Any

import click
import orjson


def entity_row(parts: tuple[str, ...]) -> dict[str, Any]:
    """An entity row from one JSON object or from key=value pairs (numbers and true as JSON)."""
    given = _json_object(parts)
    if given is not None:
        return given
    row: dict[str, Any] = {}
    for name, text in _pairs(parts):
        try:
            row[name] = orjson.loads(text)
        except orjson.JSONDecodeError:
            row[name] = text
    return row


def key_texts(parts: tuple[str, ...]) -> dict[str, str]:
    """The parts of a key as text, as they were written: 007 and 1e5 may be names."""
    given = _json_object(parts)
    if given is None:
        return dict(_pairs(parts))
    return {n: v if isinstance(v, str) else json.dumps(v) for n, v in given.items()}


def _json_object(parts: tuple[str, ...]) -> dict[str, Any] | None:
    if len(parts) != 1 or not parts[0].lstrip().startswith("{"):
        return None
    try:
        found: dict[str, Any] = orjson.loads(parts[0])
    except orjson.JSONDecodeError as error:
        raise click.UsageError(f"the row is no JSON object: {error}") from error
    return found


def _pairs(parts: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for part in parts:
        name, equals, text = part.partition("=")
        if not equals:
            raise click.UsageError(f"{part!r} is no key=value pair")
        yield name, text
