"""Reads the served log: what happened is stored, counted once, and only then acknowledged."""

import sqlite3
from collections.abc import Sequence
from functools import partial

from contracts.served import Sealed, seal
from kit.clock import Clock
from kit.logs import get_logger
from monitor import metrics
from monitor.domain.rows import Rows, gather
from monitor.domain.sequence import Progress, admit
from monitor.domain.tally import Layout, fold_volumes, segment_labels
from monitor.ports import (
    Baselines,
    Entry,
    EventStream,
    Ledger,
    Offload,
    Parts,
    StreamAway,
)

_log = get_logger(__name__)

WORLD_FAILS = (OSError, sqlite3.OperationalError)
"""A disk that is full or broken: nobody's record is to blame, and waiting may help."""


NAME_CHARACTERS_MAX = 64
PAUSE_S = 0.5
LINGER_MIN_S, LINGER_MAX_S = 0.25, 1.0
ENTRIES_WORTH_A_SECOND = 100.0
"""Entries a second from which on the longest pause is made."""


def linger_s(entries: int, seconds: float) -> float:
    """How long to let entries gather, where so many came in this time.

    A part, a commit and the counting of each column cost 8 ms, as much as 2,000 rows: a busy log
    is read once a second, a quiet one four times, for there freshness costs nothing.
    """
    a_second = entries / max(seconds, LINGER_MIN_S)
    return min(max(a_second / ENTRIES_WORTH_A_SECOND, LINGER_MIN_S), LINGER_MAX_S)


class Observe:
    """One micro-batch at a time: read, apply in one transaction, acknowledge."""

    def __init__(
        self,
        stream: EventStream,
        ledger: Ledger,
        parts: Parts,
        baselines: Baselines,
        offload: Offload,
        clock: Clock,
        *,
        future_tolerance_us: int,
        deliveries_max: int,
    ) -> None:
        self._stream = stream
        self._ledger = ledger
        self._parts = parts
        self._baselines = baselines
        self._offload = offload
        self._clock = clock
        self._future_tolerance_us = future_tolerance_us
        self._deliveries_max = deliveries_max
        self.read_until_us = 0
        """Wall time up to which everything in the stream has been applied."""

    async def run(self) -> None:
        """Read for ever; whatever fails outside is waited for, and what was read comes again."""
        looked_ns = self._clock.monotonic_ns()
        while True:
            try:
                taken = await self.step()
                metrics.BLOCKED.set(0)
                began_ns, looked_ns = looked_ns, self._clock.monotonic_ns()
                if taken and not self._stream.more:
                    await self._clock.sleep_s(linger_s(taken, (looked_ns - began_ns) / 1e9))
                continue
            except StreamAway as error:
                _log.warning("stream_away", reason=str(error))
            except WORLD_FAILS as error:
                metrics.BLOCKED.set(1)
                _log.error("state_cannot_be_written", reason=str(error))
            except Exception:  # noqa: BLE001 - see _take_singly: it is tried until it is buried
                _log.exception("entry_failed")
            self._stream.start_over()
            await self._clock.sleep_s(PAUSE_S)

    async def step(self) -> int:
        """Handle what there is; the number of entries. Raises ``StreamAway`` or the disk's error.

        After an error the entries are still pending: call again.
        """
        began_us = self._clock.wall_us()
        entries = await self._stream.read()
        if not entries:
            self.read_until_us = began_us
            return 0
        try:
            await self._take(entries)
        except WORLD_FAILS:
            raise
        except Exception:  # noqa: BLE001 - one record must not stop the log: find it and bury it
            _log.exception("micro_batch_failed", entries=len(entries))
            await self._take_singly(entries)
        written_ms = min(_order(entry)[1] for entry in entries)
        self.read_until_us = max(self.read_until_us, written_ms * 1000)
        return len(entries)

    async def _take(self, entries: Sequence[Entry]) -> None:
        began_ns = self._clock.monotonic_ns()
        records, poison = _decode(entries)
        for model, version in {(record.model, record.version) for _, record in records}:
            if self._baselines.known(model, version).layout is None:
                await self._baselines.learn(model, version)
        await self._offload(lambda: self._apply(records, poison))
        metrics.APPLY_S.observe((self._clock.monotonic_ns() - began_ns) / 1e9)
        if poison:
            await self._stream.bury(poison)
            metrics.DEAD.labels("undecodable").inc(len(poison))
        buried = {entry for entry, _ in poison}
        await self._stream.acknowledge([e for e in entries if e not in buried])

    async def _take_singly(self, entries: Sequence[Entry]) -> None:
        """Each entry for itself; one that fails again and again is buried."""
        for _ in range(len(entries)):
            pending = await self._stream.read_pending(1)
            if not pending:
                return
            entry, deliveries = pending[0]
            try:
                await self._take([entry])
            except WORLD_FAILS:
                raise
            except Exception as error:
                if deliveries < self._deliveries_max:
                    raise
                await self._stream.bury([(entry, f"{type(error).__name__}: {error}")])
                metrics.DEAD.labels("unappliable").inc()

    async def recount(self) -> None:
        """Count rows that were stored before their baseline could be had."""
        waiting = await self._offload(self._ledger.unfolded_versions)
        for model, version, _ in waiting:
            known = await self._baselines.learn(model, version)
            if known.layout is not None:
                await self._recount_version(model, version, known.layout)
        waiting = await self._offload(self._ledger.unfolded_versions)
        metrics.UNFOLDED.set(sum(rows for _, _, rows in waiting))

    async def _recount_version(self, model: str, version: str, layout: Layout) -> None:
        for name in await self._offload(lambda: self._ledger.unfolded(model, version)):
            await self._offload(partial(self._recount, name, layout))

    def _recount(self, name: str, layout: Layout) -> None:
        try:
            found = self._parts.read(name)
        except OSError as error:
            _log.error("part_damaged", part=name, reason=str(error))
            metrics.DAMAGED.inc()
            found = []
        latest_us = self._clock.now_us() + self._future_tolerance_us
        with self._ledger.transaction():
            for rows in found:
                past = rows.only(rows.event_us <= latest_us)
                if len(past):
                    self._ledger.add_cells(past.lane, layout, layout.fold(past))
            self._ledger.mark_folded(name)

    def _apply(
        self,
        records: Sequence[tuple[Entry, Sealed]],
        poison: Sequence[tuple[Entry, str]],
    ) -> None:
        """In the stores' thread: all of it or nothing."""
        first, last = _id_range([entry for entry, _ in [*records, *poison]])
        latest_us = self._clock.now_us() + self._future_tolerance_us
        with self._ledger.transaction():
            fresh, duplicates, gaps = self._admit(records, poison)
            kept = [self._enter(rows) for rows in gather(fresh)]
            parts = self._parts.write(kept, first, last)
            for part in parts:
                layout = self._baselines.known(part.model, part.version).layout
                self._ledger.add_parts([part], folded=layout is not None)
            for rows in kept:
                self._count(rows, latest_us)
        metrics.RECORDS.inc(len(fresh))
        metrics.DUPLICATES.inc(duplicates)
        metrics.GAPS.inc(max(0, gaps))
        for rows in kept:
            lane = rows.lane
            known = self._baselines.known(lane.model, lane.version).manifest is not None
            # Names that the registry does not know would make an endless set of labels.
            labels = (lane.model, lane.version, lane.variant) if known else ("", "", "")
            metrics.EVENTS.labels(*labels).inc(len(rows))

    def _admit(
        self,
        records: Sequence[tuple[Entry, Sealed]],
        poison: Sequence[tuple[Entry, str]],
    ) -> tuple[list[Sealed], int, int]:
        """Records not applied before; the number of duplicates, and of numbers jumped over."""
        seen: dict[str, Progress] = {}
        fresh, duplicates, gaps = [], 0, 0
        sealed = dict(records)
        everything = [entry for entry, _ in [*records, *poison] if entry.number > 0]
        for entry in sorted(everything, key=_order):
            before = seen.get(entry.producer) or self._ledger.progress(entry.producer)
            after, new = admit(before or Progress(), entry.number)
            gaps += after.missing - (before.missing if before else 0)
            seen[entry.producer] = after
            if entry in sealed and new:
                fresh.append(sealed[entry])
            duplicates += not new
        for producer, progress in seen.items():
            self._ledger.save_progress(producer, progress)
        return fresh, duplicates, gaps

    def _enter(self, rows: Rows) -> Rows:
        layout = self._baselines.known(rows.lane.model, rows.lane.version).layout
        return rows.only(self._ledger.enter(rows, segment_labels(rows, layout)))

    def _count(self, rows: Rows, latest_us: int) -> None:
        ahead = rows.event_us > latest_us
        if ahead.any():
            self._ledger.add_future(rows.only(ahead))
            metrics.FUTURE.inc(int(ahead.sum()))
            rows = rows.only(~ahead)
        if not len(rows):
            return
        self._ledger.add_volumes(rows.lane, fold_volumes(rows))
        layout = self._baselines.known(rows.lane.model, rows.lane.version).layout
        if layout is not None:
            self._ledger.add_cells(rows.lane, layout, layout.fold(rows))


def _decode(
    entries: Sequence[Entry],
) -> tuple[list[tuple[Entry, Sealed]], list[tuple[Entry, str]]]:
    records, poison = [], []
    for entry in entries:
        if entry.number <= 0 or not entry.producer:
            poison.append((entry, "no producer or number"))
            continue
        try:
            records.append((entry, _checked(seal(entry.data))))
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            poison.append((entry, f"{type(error).__name__}: {error}"))
    return records, poison


def _checked(record: Sealed) -> Sealed:
    for name in (record.model, record.version, record.head["variant"]):
        if not 0 < len(name) <= NAME_CHARACTERS_MAX:
            raise ValueError("model, version or variant is no name")
    return record


def _order(entry: Entry) -> tuple[str, int, int]:
    milliseconds, _, number = entry.entry_id.partition("-")
    return entry.stream, int(milliseconds), int(number)


def _id_range(entries: Sequence[Entry]) -> tuple[str, str]:
    ordered = sorted(entries, key=_order)
    return ordered[0].entry_id, ordered[-1].entry_id
