"""Everything that judges and tells, over the fixtures' stores."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from kit.clock import FakeClock
from monitor.adapters.baselines_registry import RegistryBaselines
from monitor.adapters.database_sqlite import Database
from monitor.adapters.history_sqlite import SqliteHistory
from monitor.adapters.labels_sqlite import SqliteLabels
from monitor.adapters.parts_parquet import ParquetParts
from monitor.adapters.stream_redis import RedisStream
from monitor.adapters.verdicts_sqlite import SqliteVerdicts
from monitor.alert import TellPeople
from monitor.domain.floors import read_floors
from monitor.judge import Judge
from monitor.observe import Observe
from monitor.ports import Notice, SinkAway, SinkRefused, Truth
from monitor.schedule import Schedule
from tests.monitor.world import HOUR_US, MODEL, NOW_US, Producer, inline

DAY_US = 24 * HOUR_US


@dataclass
class FakeSink:
    name: str = "fake"
    taken: list[Notice] = field(default_factory=list)
    away: bool = False
    refused: set[str] = field(default_factory=set)
    """Titles that it does not take."""

    async def send(self, notice: Notice) -> None:
        if self.away:
            raise SinkAway("away")
        if notice.title in self.refused:
            raise SinkRefused("HTTP 400")
        self.taken.append(notice)


@dataclass
class FakeBoard:
    name: str = "board"
    said: list[list[str]] = field(default_factory=list)

    async def restate(self, alerts: Sequence[dict[str, Any]]) -> None:
        self.said.append([alert["fingerprint"] for alert in alerts])


@dataclass
class Office:
    """Everything that judges, over the fixtures' stores."""

    observe: Observe
    schedule: Schedule
    alert: TellPeople
    verdicts: SqliteVerdicts
    sink: FakeSink
    clock: FakeClock
    producer: Producer
    labels: SqliteLabels

    async def day(
        self, number: int, shift: float = 0.0, *, right: float | None = None,
        together: bool = False, rows: int = 300, swapped: bool = False,
    ) -> None:  # fmt: skip
        """One day of 300 rows, its labels, and the jobs that follow."""
        at_us = NOW_US + number * DAY_US
        batch = self.producer.batch(rows, at_us + HOUR_US)
        if swapped:
            # The same distances and the same origins, yet the long ones all leave from Newark.
            order = np.argsort([name != "EWR" for name in batch.strings["origin"]], kind="stable")
            batch.numbers["distance"][order] = np.sort(batch.numbers["distance"])[::-1]
        batch.numbers["distance"][:] += shift * 200
        if together:
            half = np.argsort(batch.numbers["distance"][:150])
            batch.numbers["late_7d"][half] = np.sort(batch.numbers["late_7d"][:150])
        self.producer.send(batch)
        self.clock.advance_us(at_us + DAY_US + 1_000_000 - self.clock.now_us())
        await self.observe.step()
        if right is not None:
            self.label(batch.request_id.tobytes(), batch.predicted, right)
        await self.jobs()

    def label(self, ids: bytes, predicted: npt.NDArray[np.int32], right: float) -> None:
        random = np.random.default_rng(5)
        kept = random.random(len(predicted)) < right
        now_us = self.clock.now_us()
        truths = [
            Truth(MODEL, float(p if k else 1 - p), now_us, ids[16 * i : 16 * i + 16] + b"\0\0")
            for i, (p, k) in enumerate(zip(predicted.tolist(), kept.tolist(), strict=True))
        ]
        self.labels.upsert(truths, self.clock.now_us())

    async def jobs(self) -> None:
        for _ in range(2):  # once to see the time, once when the log was read past it
            await self.observe.step()
            self.clock.advance_us(10)
            while await self.schedule.tick():
                pass
        await self.alert.deliver()

    def done(self, job: str) -> list[int]:
        return sorted(run.until_us for run in self.verdicts.runs(MODEL, job, 500))


def make_office(
    observe: Observe, database: Database, history: SqliteHistory, baselines: RegistryBaselines,
    stream: RedisStream, clock: FakeClock, producer: Producer, parts: ParquetParts,
    known_days: frozenset[int] = frozenset(),
) -> Office:  # fmt: skip
    verdicts, sink = SqliteVerdicts(database), FakeSink()
    alert = TellPeople(verdicts, [sink], inline, clock, 10)
    judge = Judge(
        history, parts, verdicts, baselines, inline, clock,
        rows_min=200, label_due_us=DAY_US, completeness_min=0.8,
        floors=read_floors([f"{MODEL}:accuracy=0.5", "another:accuracy=0.99"]),
        known_days=known_days,
    )  # fmt: skip
    schedule = Schedule(
        history, verdicts, stream, judge.examine, alert.take, lambda: observe.read_until_us,
        inline, inline, clock, 0,
    )  # fmt: skip
    labels = SqliteLabels(database, 1_000_000, 1_000)
    return Office(observe, schedule, alert, verdicts, sink, clock, producer, labels)
