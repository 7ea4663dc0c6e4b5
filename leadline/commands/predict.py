"""``leadline predict``."""

import json
import sys
from typing import Any

import click
import orjson

from leadline.client import Client
from leadline.state import StateDir, state_option


@click.command()
@state_option
@click.argument("model")
@click.argument("instances", nargs=-1)
@click.option("--explain", is_flag=True, help="Show each feature's value, status and age.")
def predict(state: StateDir, model: str, instances: tuple[str, ...], explain: bool) -> None:
    """Ask MODEL for a prediction of each of INSTANCES (JSON objects; `-` reads a JSON list).

    \b
    leadline predict delay '{"carrier": "UA", "origin": "EWR", "dest": "IAH", …}'
    """
    rows = _parse(instances)
    with Client.from_state(state, key="demo_key") as client:
        answer = client.predict(model, rows, explain_features=explain)
    click.echo(json.dumps(answer, indent=2))


def _parse(instances: tuple[str, ...]) -> list[dict[str, Any]]:
    if not instances:
        raise click.UsageError("Give at least one instance, a JSON object, or - for a JSON list.")
    texts = [sys.stdin.read()] if instances == ("-",) else list(instances)
    rows: list[dict[str, Any]] = []
    for text in texts:
        try:
            value = orjson.loads(text)
        except ValueError as error:
            raise click.UsageError(f"Not JSON: {error}. The instance was: {text[:80]}") from None
        rows += value if isinstance(value, list) else [value]
    if not all(isinstance(row, dict) for row in rows):
        raise click.UsageError("Every instance is a JSON object of keys and request fields.")
    return rows
