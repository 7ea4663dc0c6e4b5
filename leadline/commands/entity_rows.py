"""Entity rows and keys as they are written on a command line, and which of it is text."""

import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import click
import orjson


def names_of_text(definitions: Mapping[str, Any]) -> set[str]:
    """Keys and request fields that are text wherever they are defined."""
    declared = [one["keys"] for one in definitions["entities"].values()]
    declared += [one["request"] for one in definitions["on_demand"].values()]
    dtypes = {(name, dtype) for fields in declared for name, dtype in fields.items()}
    others = {name for name, dtype in dtypes if dtype != "string"}
    return {name for name, _ in dtypes} - others


def texts_of(source: str, definitions: Mapping[str, Any]) -> set[str]:
    """The columns of a source's rows that are text."""
    columns = definitions["sources"].get(source, {}).get("columns", {})
    return {"event_id"} | {name for name, dtype in columns.items() if dtype == "string"}


def entity_row(parts: tuple[str, ...], text: Collection[str] = ()) -> dict[str, Any]:
    """An entity row from one JSON object or from key=value pairs: as JSON where that can be read
    (numbers, true), but for the names in ``text``."""
    given = _json_object(parts)
    if given is not None:
        return given
    row: dict[str, Any] = {}
    for name, written in _pairs(parts):
        try:
            row[name] = written if name in text else orjson.loads(written)
        except orjson.JSONDecodeError:
            row[name] = written
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
