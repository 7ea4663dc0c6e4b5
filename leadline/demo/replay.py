"""Lives through the demo's time: what became known is pushed, flights are asked about, labels come.

Time moves in steps from one minute with a question to the next. In each step, in this order: the
clock is set; everything that has become known is pushed and applied; every quarter of an hour the
labels of landed flights are sent; every flight that leaves in an hour is asked about, one request
a flight. Nothing is asked before all that was known is applied, so what is served is what the
historical join says.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from kit.clock import write_clock
from leadline.demo.flights import DAY_US, MINUTE_US, arrivals, asks, departures, weather
from leadline.demo.journal import Journal, Waiting
from leadline.demo.sample import MODEL
from leadline.demo.wire import Reply, Request, Wires

ASK_FIELDS = ("carrier", "origin", "dest", "tailnum", "scheduled_departure", "distance")
PUSHED: dict[str, tuple[Callable[[], pa.Table], tuple[str, ...]]] = {
    "departures": (departures, ("origin", "delay_min")),
    "arrivals": (arrivals, ("carrier", "origin", "dest", "tailnum", "delay_min", "late")),
    "weather": (weather, ("origin", "temp", "humid", "wind_speed", "precip", "visib")),
}
LABELS_EVERY_US = 15 * MINUTE_US
PATIENCE_S = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Waits between attempts to push or label while a service restarts."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the platform is and who asks."""

    gateway: str
    admin_key: str
    demo_key: str
    clock_file: Path


@dataclass(slots=True)
class Tally:
    """What happened, over all runs of this replay."""

    asked: float = 0.0
    errors: float = 0.0
    labelled: float = 0.0
    late: float = 0.0
    score_sum: float = 0.0
    first_error: str = ""

    def as_dict(self) -> dict[str, float]:
        """The numbers, as the journal keeps them."""
        names = ("asked", "errors", "labelled", "late", "score_sum")
        return {name: getattr(self, name) for name in names}


@dataclass(slots=True)
class Progress:
    """What a progress line shows."""

    now_us: int
    tally: Tally
    behind_s: float = 0.0


class Stream:
    """One table of events in order, taken piece by piece as time passes."""

    def __init__(self, table: pa.Table, by: str) -> None:
        self._table = table
        self.at_us: npt.NDArray[np.int64] = np.asarray(table[by].cast(pa.int64()))

    def between(self, after_us: int, until_us: int) -> list[dict[str, Any]]:
        """The rows with ``after < at <= until``."""
        low, high = np.searchsorted(self.at_us, [after_us, until_us], "right")
        return self._table.slice(low, high - low).to_pylist() if high > low else []


@dataclass(slots=True)
class Replay:
    """One run. ``step`` may be called for rising instants; the journal remembers the last."""

    endpoint: Endpoint
    wires: Wires
    journal: Journal
    position_us: int
    tally: Tally = field(default_factory=Tally)
    sleep_s: Callable[[float], None] = time.sleep
    _asks: Stream = field(init=False)
    _sources: dict[str, tuple[Stream, tuple[str, ...]]] = field(init=False)

    def __post_init__(self) -> None:
        self._asks = Stream(asks(), "asked_at")
        self._sources = {
            name: (Stream(table(), "event_time"), columns)
            for name, (table, columns) in PUSHED.items()
        }
        for name, value in self.journal.tallies().items():
            setattr(self.tally, name, value)

    def instants(self, until_us: int) -> Iterator[int]:
        """The minutes with a question after the position, and the end."""
        times = np.unique(self._asks.at_us)
        low, high = np.searchsorted(times, [self.position_us, until_us], "right")
        yield from (int(at) for at in times[low:high])
        if high == low or times[high - 1] < until_us:
            yield until_us

    def skip_to(self, from_us: int) -> None:
        """Deliver what became known up to ``from_us`` without asking about the flights before it.

        Raises ``ClickException`` for an instant that has passed: what is known stays known.
        """
        if from_us < self.position_us:
            raise click.ClickException(
                f"The demo stands at {iso(self.position_us)} already. To see an earlier time, "
                "begin a new state directory there (leadline demo begin --at)."
            )
        at_us = self.position_us
        while at_us < from_us:
            at_us = min(at_us + DAY_US, from_us)
            write_clock(self.endpoint.clock_file, at_us)
            self._deliver(self._pushes(at_us))
            landed = self.journal.landed(at_us)
            self._deliver(self._labels(landed))
            self.journal.done(at_us, [], landed, self.tally.as_dict())
            self.position_us = at_us

    def step(self, now_us: int) -> None:
        """Everything between the last step and ``now_us``. Raises ``ClickException`` when what is
        known cannot be delivered: asking on would be asking without it."""
        write_clock(self.endpoint.clock_file, now_us)
        self._deliver(self._pushes(now_us))
        landed = self._landed(now_us)
        self._deliver(self._labels(landed))
        answered = self._ask(now_us)
        self.tally.labelled += len(landed)
        self.tally.late += sum(one.late for one in landed)
        self.journal.done(now_us, answered, landed, self.tally.as_dict())
        self.position_us = now_us

    def _landed(self, now_us: int) -> list[Waiting]:
        """The answers whose label is due: collected for a few minutes, as an airline's feed is."""
        if now_us // LABELS_EVERY_US == self.position_us // LABELS_EVERY_US:
            return []
        return self.journal.landed(now_us)

    def _pushes(self, now_us: int) -> list[Request]:
        requests = []
        for name, (stream, columns) in self._sources.items():
            rows = [pushed(row, columns) for row in stream.between(self.position_us, now_us)]
            if rows:
                body = {"source": name, "rows": rows}
                path = "/v1/features/push?wait=applied"
                requests.append(Request(path, body, self.endpoint.admin_key))
        return requests

    def _labels(self, landed: list[Waiting]) -> list[Request]:
        labels = [
            {
                "model": MODEL,
                "request_id": one.request_id,
                "row": 0,
                "label": one.late,
                "event_time": iso(one.landed_us),
            }
            for one in landed
        ]
        key = self.endpoint.admin_key
        return [Request("/v1/labels", {"labels": labels}, key)] if labels else []

    def _deliver(self, requests: list[Request]) -> None:
        """Send until all are taken; pushes and labels may be repeated, both are idempotent."""
        waiting = requests
        for pause_s in (*PATIENCE_S, None):
            replies = self.wires.send(waiting)
            refused = [
                (one, reply) for one, reply in zip(waiting, replies, strict=True) if not reply.ok
            ]
            if not refused:
                return
            worst = next((reply for _, reply in refused if 400 <= reply.status < 500), None)
            if worst is not None or pause_s is None:
                reply = worst or refused[0][1]
                raise click.ClickException(f"{refused[0][0].path} was refused: {_said(reply)}")
            waiting = [one for one, _ in refused]
            self.sleep_s(pause_s)

    def _ask(self, now_us: int) -> list[Waiting]:
        rows = self._asks.between(now_us - 1, now_us)
        replies = self.wires.send([self._question(row) for row in rows])
        answered = []
        for row, reply in zip(rows, replies, strict=True):
            self.tally.asked += 1
            prediction = reply.body.get("predictions", [{}])[0] if reply.ok else {}
            if "probability" not in prediction:
                self.tally.errors += 1
                self.tally.first_error = self.tally.first_error or _said(reply)
                continue
            self.tally.score_sum += prediction["probability"]
            if row["landed_at"] is not None:
                landed_us = micros(row["landed_at"])
                answered.append(Waiting(reply.body["request_id"], landed_us, row["late"]))
        return answered

    def _question(self, row: dict[str, Any]) -> Request:
        instance = {name: row[name] for name in ASK_FIELDS}
        instance["scheduled_departure"] = iso(micros(row["scheduled_departure"]))
        body = {"model": MODEL, "instances": [instance]}
        return Request("/predict", body, self.endpoint.demo_key)


def run(
    replay: Replay,
    until_us: int,
    *,
    rate: float | None,
    show: Callable[[Progress], None],
    stopped: Callable[[], bool],
    monotonic_s: Callable[[], float] = time.monotonic,
) -> None:
    """Step to ``until_us``, at ``rate`` business seconds a real second (None: as fast as it goes),
    until ``stopped``. ``show`` is called after every step."""
    began_s, from_us = monotonic_s(), replay.position_us
    for now_us in replay.instants(until_us):
        behind_s = 0.0
        if rate is not None:
            due_s = began_s + (now_us - from_us) / 1e6 / rate
            behind_s = monotonic_s() - due_s
            if behind_s < 0:
                replay.sleep_s(-behind_s)
        if stopped():
            return
        replay.step(now_us)
        show(Progress(now_us, replay.tally, max(0.0, behind_s)))


def iso(at_us: int) -> str:
    """The instant as ISO 8601 text with its zone, to the second."""
    return datetime.fromtimestamp(at_us // 1_000_000, UTC).isoformat().replace("+00:00", "Z")


def micros(at: datetime) -> int:
    """Microseconds since 1970 of a whole-second instant."""
    return int(at.timestamp()) * 1_000_000


def pushed(row: dict[str, Any], columns: tuple[str, ...]) -> dict[str, Any]:
    at = iso(micros(row["event_time"]))
    event_id = row.get("flight_id") or f"{row['origin']}-{at}"
    known = {"event_time": at, "created_time": at, "event_id": event_id}
    return {**{name: row[name] for name in columns}, **known}


def _said(reply: Reply) -> str:
    detail = reply.body.get("detail") or reply.body.get("error") or reply.body
    return f"HTTP {reply.status}, {detail}" if reply.status else f"no answer ({detail})"
