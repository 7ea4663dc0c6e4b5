"""Reads the served log: what happened is stored, counted once, and only then acknowledged."""

import sqlite3
from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from operator import itemgetter

from contracts.served import Sealed, seal
from kit.clock import Clock
from kit.logs import get_logger
from monitor import metrics
from monitor.domain.rows import Rows, gather
from monitor.domain.sequence import Progress, admit_all
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
_first = itemgetter(0)
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
        self._trouble = ""
        self.read_until_us = 0
        """Wall time up to which everything in the stream has been applied."""

    async def run(self) -> None:
        """Read for ever; whatever fails outside is waited for, and what was read comes again."""
        looked_ns = self._clock.monotonic_ns()
        while True:
            try:
                taken = await self.step()
                metrics.BLOCKED.set(0)
                self._say("")
                began_ns, looked_ns = looked_ns, self._clock.monotonic_ns()
                if taken and not self._stream.more:
                    await self._clock.sleep_s(linger_s(taken, (looked_ns - began_ns) / 1e9))
                continue
            except StreamAway as error:
                self._say("stream_away", error)
            except WORLD_FAILS as error:
                metrics.BLOCKED.set(1)
                self._say("state_cannot_be_written", error)
            except Exception:  # noqa: BLE001 - see _take_singly: it is tried until it is buried
                _log.exception("entry_failed")
            self._stream.start_over()
            await self._clock.sleep_s(PAUSE_S)

    def _say(self, trouble: str, error: Exception | None = None) -> None:
        """One line when a trouble begins and one when it ends; it is met twice a second."""
        if trouble == self._trouble:
            return
        if trouble:
            _log.error(trouble, reason=str(error))
        else:
            _log.info("log_read_again", after=self._trouble)
        self._trouble = trouble

    async def step(self) -> int:
        """Handle what there is; the number of entries. Raises ``StreamAway`` or the disk's error.

        After an error the entries are still pending: call again.
        """
        began_us = self._clock.wall_us()
        entries = await self._stream.read()
        if not entries:
            self.read_until_us = began_us
            return 0
        orders = [_order(entry) for entry in entries]
        if orders != sorted(orders):
            entries = [entry for _, entry in sorted(zip(orders, entries, strict=True), key=_first)]
        try:
            await self._take(entries)
        except WORLD_FAILS:
            raise
        except Exception:  # noqa: BLE001 - one record must not stop the log: find it and bury it
            _log.exception("micro_batch_failed", entries=len(entries))
            await self._take_singly(entries)
        written_ms = min(order[1] for order in orders)
        self.read_until_us = max(self.read_until_us, written_ms * 1000)
        return len(entries)

    async def _take(self, entries: Sequence[Entry]) -> None:
        """Entries in the order of the log."""
        began_ns = self._clock.monotonic_ns()
        decoded = [_decode(entry) for entry in entries]
        records = [record for record in decoded if isinstance(record, Sealed)]
        for model, version in {(record.model, record.version) for record in records}:
            if self._baselines.known(model, version).layout is None:
                await self._baselines.learn(model, version)
        await self._offload(lambda: self._apply(entries, decoded))
        metrics.APPLY_S.observe((self._clock.monotonic_ns() - began_ns) / 1e9)
        both = list(zip(entries, decoded, strict=True))
        poison = [(entry, reason) for entry, reason in both if isinstance(reason, str)]
        if poison:
            await self._stream.bury(poison)
            metrics.DEAD.labels("undecodable").inc(len(poison))
        await self._stream.acknowledge([entry for entry, r in both if isinstance(r, Sealed)])

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
        ask = self._baselines.known
        late = [rows for model, version, rows in waiting if not ask(model, version).has_none]
        metrics.UNFOLDED.set(sum(late))

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

    def _apply(self, entries: Sequence[Entry], decoded: Sequence[Sealed | str]) -> None:
        """In the stores' thread: all of it or nothing."""
        first, last = entries[0].entry_id, entries[-1].entry_id
        latest_us = self._clock.now_us() + self._future_tolerance_us
        with self._ledger.transaction():
            fresh, duplicates, gaps = self._admit(entries, decoded)
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
        self, entries: Sequence[Entry], decoded: Sequence[Sealed | str]
    ) -> tuple[list[Sealed], int, int]:
        """Records not applied before; the number of duplicates, and of numbers jumped over."""
        places: dict[str, list[int]] = defaultdict(list)
        for at, entry in enumerate(entries):
            if entry.number > 0:
                places[entry.producer].append(at)
        new = [False] * len(entries)
        gaps = 0
        for producer, mine in places.items():
            before = self._ledger.progress(producer) or Progress()
            after, fresh = admit_all(before, [entries[at].number for at in mine])
            gaps += after.missing - before.missing
            for at, is_new in zip(mine, fresh, strict=True):
                new[at] = is_new
            self._ledger.save_progress(producer, after)
        duplicates = sum(map(len, places.values())) - sum(new)
        both = zip(decoded, new, strict=True)
        return [one for one, is_new in both if is_new and isinstance(one, Sealed)], duplicates, gaps

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


def _decode(entry: Entry) -> Sealed | str:
    """The record, or why there is none."""
    if entry.number <= 0 or not entry.producer:
        return "no producer or number"
    try:
        return _checked(seal(entry.data))
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        return f"{type(error).__name__}: {error}"


def _checked(record: Sealed) -> Sealed:
    for name in (record.model, record.version, record.head["variant"]):
        if not 0 < len(name) <= NAME_CHARACTERS_MAX:
            raise ValueError("model, version or variant is no name")
    return record


def _order(entry: Entry) -> tuple[str, int, int]:
    milliseconds, _, number = entry.entry_id.partition("-")
    return entry.stream, int(milliseconds), int(number)
