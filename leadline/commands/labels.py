"""``leadline labels``: what turned out to be true, from a person's file."""

import csv
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Any, NamedTuple, TextIO

import click
import orjson

from leadline.client import Client, ProblemError
from leadline.state import StateDir, state_option

LABELS_AT_A_TIME = 5_000
REJECTED_SHOWN = 20
_PLACE = re.compile(r"/labels/(\d+)")


class Row(NamedTuple):
    """A label and where it stands."""

    line: int
    label: dict[str, Any]


@click.command()
@state_option
@click.argument("model")
@click.argument("file", type=click.File("r", encoding="utf-8-sig"))
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def labels(state: StateDir, model: str, file: TextIO, as_json: bool) -> None:
    """Send labels for MODEL from FILE (- is standard input).

    FILE is CSV with a header or JSON lines; the fields are those of POST /v1/labels: request_id
    (and row), or unit and predicted_at; label; event_time. Sending them again changes nothing.
    """
    total: Counter[str] = Counter()
    rejected: list[dict[str, Any]] = []
    rows = _read(file)
    with Client.from_state(state) as client:
        while batch := list(islice(rows, LABELS_AT_A_TIME)):
            answer = _send(client, model, batch)
            total.update(answer["outcomes"])
            rejected += [
                {"line": batch[_number(one["pointer"])].line, "code": one["code"]}
                for one in answer["rejected"]
            ]
    if as_json:
        click.echo(json.dumps({**total, "rejected_lines": rejected}))
        return
    click.echo(", ".join(f"{number:,} {name}" for name, number in total.items()) or "no labels")
    for one in rejected[:REJECTED_SHOWN]:
        click.echo(f"  line {one['line']}: {one['code']}")


def _send(client: Client, model: str, batch: list[Row]) -> Any:
    sent = [{"model": model, **row.label} for row in batch]
    try:
        return client.post("/v1/labels", {"labels": sent})
    except ProblemError as problem:
        told = _PLACE.sub(lambda found: f"line {batch[int(found[1])].line}: ", problem.message)
        raise click.ClickException(told) from None


def _number(pointer: str) -> int:
    found = _PLACE.match(pointer)
    assert found is not None
    return int(found[1])


def _read(file: TextIO) -> Iterator[Row]:
    """The labels of a file of either kind. Raises ``ClickException``, with the line."""
    try:
        first = file.readline()
        read = _json_lines if first.lstrip().startswith("{") else _csv
        yield from read(chain([first], file))
    except UnicodeDecodeError:
        raise click.ClickException("FILE is no text in UTF-8.") from None
    except csv.Error as error:
        raise click.ClickException(f"FILE is no CSV: {error}.") from None


def _json_lines(lines: Iterable[str]) -> Iterator[Row]:
    for number, text in enumerate(lines, 1):
        if not text.strip():
            continue
        try:
            label = orjson.loads(text)
        except ValueError as error:
            raise click.ClickException(f"Line {number} is no JSON: {error}.") from None
        if not isinstance(label, dict):
            raise click.ClickException(f"Line {number} is no JSON object.")
        yield Row(number, label)


def _csv(lines: Iterable[str]) -> Iterator[Row]:
    reader = csv.DictReader(lines)
    if reader.fieldnames and "label" not in reader.fieldnames:
        raise click.ClickException("The first line is a header, separated by commas, with label.")
    for cells in reader:
        number = reader.line_num
        if None in cells:
            raise click.ClickException(f"Line {number} has more cells than the header.")
        label: dict[str, Any] = {name: text for name, text in cells.items() if text}
        if "row" in label:
            if not label["row"].isdecimal():
                raise click.ClickException(f"Line {number}: row is a whole number.")
            label["row"] = int(label["row"])
        yield Row(number, {**label, "label": _truth(label.get("label", ""))})


def _truth(text: str) -> float | bool | str:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        number = float(text)
    except ValueError:
        return text
    return number if math.isfinite(number) else text
