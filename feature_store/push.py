"""Push rows: validate strictly, drop what was seen, append once, say what happened to each row."""

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from feature_store.domain.intake import Intake, SetAside, take_rows, take_table
from feature_store.metrics import NEWEST_EVENT, PUSHED
from kit.clock import Clock
from shared_features import Catalogue, Source

EVENT_IDS_MAX = 1_000_000
"""Event ids remembered for each source: a re-delivery later than so many rows is a new row."""


class AppendingLog(Protocol):
    """What pushing needs of the log's writer."""

    def append(self, taken: Sequence[tuple[str, pa.Table]], now_us: int) -> list[tuple[int, int]]:
        """Append batches durably; the positions of each."""

    def event_ids(self, limit: int) -> Mapping[str, list[str]]:
        """The latest event ids of each source."""


class Quarantine(Protocol):
    """Where rows go that cannot be taken."""

    def add(self, source: str, rows: Sequence[SetAside], at_us: int) -> None:
        """Keep rows with their reasons."""


@dataclass(slots=True)
class Pushed:
    """What became of one push."""

    accepted: int
    duplicates: int
    quarantined: list[SetAside]
    last_seq: int
    """Position of the push's last row; of the log's last row when none was accepted."""


@dataclass(slots=True)
class _Waiting:
    source: str
    table: pa.Table
    done: "asyncio.Future[int]" = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class Pusher:
    """Takes pushes of many callers; those that arrive together share one write and one sync."""

    def __init__(
        self,
        catalogue: Catalogue,
        log: AppendingLog,
        quarantine: Quarantine,
        clock: Clock,
        executor: Executor,
        newest_us: Mapping[str, int] | None = None,
    ) -> None:
        """``newest_us``: event time of the newest row of each source that is in the log already."""
        self._catalogue = catalogue
        self._log = log
        self._quarantine = quarantine
        self._clock = clock
        self._seen = _Seen(log.event_ids(EVENT_IDS_MAX))
        self._executor = executor
        self._waiting: list[_Waiting] = []
        self._writing = False
        self._newest_us = dict(newest_us or {})
        for source, event_us in self._newest_us.items():
            NEWEST_EVENT.labels(source).set(event_us / 1e6)

    def newest_us(self) -> Mapping[str, int]:
        """Event time of the newest row of each source that has one."""
        return self._newest_us

    async def push_rows(self, name: str, rows: Sequence[Any]) -> Pushed:
        """Push mappings to the source or view of that name. Raises ``UnknownRef``."""
        source = self._catalogue.source(name)
        views = self._catalogue.views_of(source.name)
        return await self._push(source, take_rows(source, views, rows))

    async def push_table(self, name: str, table: pa.Table) -> Pushed:
        """Push an Arrow table. Raises ``UnknownRef`` and ``RefusedBatch``."""
        source = self._catalogue.source(name)
        views = self._catalogue.views_of(source.name)
        intake = await asyncio.to_thread(take_table, source, views, table)
        return await self._push(source, intake)

    async def _push(self, source: Source, intake: Intake) -> Pushed:
        if intake.aside:
            self._quarantine.add(source.name, intake.aside, self._clock.now_us())
        fresh = self._seen.without_repeats(source.name, intake.table)
        try:
            last = await self._append(source.name, fresh)
        except BaseException:
            self._seen.forget(source.name, fresh)
            raise
        duplicates = len(intake.table) - len(fresh)
        self._count(source.name, fresh, duplicates, len(intake.aside))
        return Pushed(len(fresh), duplicates, intake.aside, last)

    def _count(self, source: str, fresh: pa.Table, duplicates: int, aside: int) -> None:
        for outcome, rows in (
            ("accepted", len(fresh)),
            ("duplicate", duplicates),
            ("quarantined", aside),
        ):
            PUSHED.labels(source, outcome).inc(rows)
        if len(fresh):
            self._newest_us[source] = max(
                self._newest_us.get(source, 0), pc.max(fresh["event_us"]).as_py()
            )
            NEWEST_EVENT.labels(source).set(self._newest_us[source] / 1e6)

    async def _append(self, source: str, table: pa.Table) -> int:
        mine = _Waiting(source, table)
        self._waiting.append(mine)
        self._write_next()
        return await mine.done

    def _write_next(self) -> None:
        """One write at a time; what waits meanwhile goes together into the next."""
        if self._writing or not self._waiting:
            return
        batch, self._waiting = self._waiting, []
        self._writing = True
        rows = [(one.source, one.table) for one in batch]
        written = asyncio.get_running_loop().run_in_executor(
            self._executor, self._log.append, rows, self._clock.now_us()
        )
        written.add_done_callback(partial(self._written, batch))

    def _written(
        self, batch: Sequence[_Waiting], written: "asyncio.Future[list[tuple[int, int]]]"
    ) -> None:
        self._writing = False
        error = written.exception()  # handed to the callers below
        for place, one in enumerate(batch):
            if one.done.done():
                continue  # the caller left; the rows are in the log all the same
            if error is not None:
                one.done.set_exception(error)
            else:
                one.done.set_result(written.result()[place][1])
        self._write_next()


class _Seen:
    """The event ids of the latest rows."""

    def __init__(self, known: Mapping[str, list[str]]) -> None:
        self._ids = {source: set(ids) for source, ids in known.items()}
        self._order = {source: deque(ids) for source, ids in known.items()}

    def without_repeats(self, source: str, table: pa.Table) -> pa.Table:
        """The rows whose event id is new (or absent); remembers them."""
        column = table["event_id"]
        if column.null_count == len(column):
            return table
        ids = self._ids.setdefault(source, set())
        order = self._order.setdefault(source, deque())
        kept = []
        for event_id in column.to_pylist():
            new = event_id is None or event_id not in ids
            kept.append(new)
            if new and event_id is not None:
                ids.add(event_id)
                order.append(event_id)
        while len(order) > EVENT_IDS_MAX:
            ids.discard(order.popleft())
        return table if all(kept) else table.filter(pa.array(kept))

    def forget(self, source: str, table: pa.Table) -> None:
        """The rows were not written after all; they may come again."""
        ids = self._ids.get(source, set())
        ids.difference_update(pc.drop_null(table["event_id"]).to_pylist())
