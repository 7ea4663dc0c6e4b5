"""Fills a fresh platform with the demo: history, two trained versions, the first in production.

Every step looks first whether it has been done, so that one that was interrupted goes on.
"""

import subprocess
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

import click
import pyarrow as pa

from feature_store.facade import FeatureStore
from leadline.client import Client, ProblemError
from leadline.demo import features
from leadline.demo.flights import arrivals, between, departures, weather
from leadline.demo.models import (
    CALENDAR_ONLY,
    WITH_ONLINE_FEATURES,
    Recipe,
    Retrieve,
    train,
    training_set,
)
from leadline.demo.replay import iso
from leadline.demo.sample import MODEL, SAMPLE_INSTANCE
from leadline.publish.bundle import Bundle
from leadline.publish.publication import build
from shared_features import load_catalogue

ROWS_PER_PUSH = 20_000
PROMOTE_S_MAX = 60.0
_POLL_S = 0.1


class Steps(Protocol):
    """Prints a line a step (``leadline.local.steps.Steps``)."""

    def step(self, what: str) -> AbstractContextManager[None]:
        """Print what was done, with the time it took."""


def seed(client: Client, root: Path, steps: Steps, begins_us: int) -> None:
    """Fill the platform behind ``client``, whose state is in ``root``; what is done stays done."""
    for name, table in history(begins_us):
        with steps.step(f"demo: {len(table):,} {name} into the feature store"):
            load(client, name, table)
    retrieve = retrieval(root)
    for number, recipe in (("1", CALENDAR_ONLY), ("2", WITH_ONLINE_FEATURES)):
        if _published(client, number):
            continue
        with steps.step(f"demo: version {number} trained, exported, verified, published"):
            make(retrieve, recipe, begins_us).send(client)
    with steps.step("demo: version 1 in production and answering"):
        promote(client, "1", "production", "The demo begins with the calendar only.")
        _wait_until_it_answers(client)


def history(until_us: int) -> Iterator[tuple[str, pa.Table]]:
    """What had become known before the demo begins, by source."""
    for name, table, columns in (
        ("departures", departures(), features.DEPARTURES.columns),
        ("arrivals", arrivals(), features.ARRIVALS.columns),
        ("weather", weather(), features.WEATHER.columns),
    ):
        known = between(table, "event_time", 0, until_us)
        kept = {column: known[column] for column in (*columns, "event_time")}
        # Known when it happened; without this the rows would have become known only now.
        kept["created_time"] = known["event_time"]
        if "flight_id" in known.column_names:
            kept["event_id"] = known["flight_id"]
        yield name, pa.table(kept)


def load(client: Client, source: str, table: pa.Table) -> None:
    """Push a table in parts; returns when the last is applied online."""
    for start in range(0, len(table), ROWS_PER_PUSH):
        part = table.slice(start, ROWS_PER_PUSH)
        answer = client.send(
            "POST",
            "/v1/features/push",
            params={"source": source, "wait": "applied"},
            content=stream_of(part),
            headers={"content-type": "application/vnd.apache.arrow.stream"},
        ).json()
        if answer["quarantined"]:
            raise click.ClickException(f"{source}: {answer['quarantined'][0]}")


def retrieval(root: Path) -> Retrieve:
    """Historical retrieval from the log of the platform in ``root``, in this process."""
    store = FeatureStore.open(root, [features.__name__])

    def retrieve(rows: pa.Table, service: str) -> pa.Table:
        joined = store.get_historical_features(rows, feature_service=service, statuses=False)
        assert isinstance(joined, pa.Table)
        return joined

    return retrieve


def make(retrieve: Retrieve, recipe: Recipe, begins_us: int) -> Bundle:
    """Train one version on what was known, and make it ready to publish."""
    service = load_catalogue([features.__name__]).compile(recipe.feature_service)
    given = training_set(retrieve, recipe, begins_us)
    return build(train(given, recipe, service, git_commit=git_commit(), now=iso(begins_us)))


def promote(client: Client, number: str, to: str, reason: str) -> None:
    """Move a version to a state, unless it is there."""
    path = f"/v1/models/{MODEL}/versions/{number}"
    page = client.send("GET", path)
    if page.json()["state"] != to:
        client.post(
            f"{path}/transitions",
            {"to": to, "reason": reason},
            headers={"if-match": page.headers["etag"]},
        )


def git_commit() -> str:
    """The commit that this code is at, or its release where there is no repository."""
    try:
        asked = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
            timeout=5,
        )
    except (OSError, subprocess.SubprocessError):
        return f"leadline {version('leadline')}"
    return asked.stdout.strip()


def stream_of(table: pa.Table) -> bytes:
    """A table as an Arrow IPC stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _published(client: Client, number: str) -> bool:
    try:
        client.get(f"/v1/models/{MODEL}/versions/{number}")
    except ProblemError as problem:
        if problem.status == 404:
            return False
        raise
    return True


def _wait_until_it_answers(client: Client) -> None:
    deadline = time.monotonic() + PROMOTE_S_MAX
    while True:
        try:
            client.predict(MODEL, [SAMPLE_INSTANCE])
        except ProblemError as problem:
            if time.monotonic() > deadline:
                raise click.ClickException(f"{MODEL} does not answer: {problem.message}") from None
            time.sleep(_POLL_S)
        else:
            return
