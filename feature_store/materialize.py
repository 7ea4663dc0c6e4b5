"""The online applier: reads the log on from where each view stands, for ever.

Progress is a position in the log, kept in the store itself, never an event time: late rows cannot
be lost, a killed applier goes on where it was, a store that lost its data says so by its positions
and is filled again from the log, a view that is new is filled from the log's beginning. A store
that holds rows which the log, restored from a copy, does not have is emptied and filled again; but
not by a log that was opened without any row, for that is rather a folder which was not mounted.
"""

import asyncio
from collections.abc import Mapping
from typing import Protocol

import pyarrow as pa

from feature_store.domain.plan import LIFE_FIELD, LOG_FIELD
from feature_store.domain.writing import ViewWriter, view_writer
from feature_store.ports import Contended, LogReader, OnlineStore, StoreFull
from kit.clock import Clock
from kit.logs import get_logger
from kit.redis_pipeline import RedisAway
from shared_features import Catalogue

_log = get_logger(__name__)

ROWS_PER_STEP = 20_000
"""Rows of one view between two records of progress."""
IDLE_S = 0.5
"""How often an idle applier looks whether the store still has what it had."""


class LogLost(Exception):
    """The log was opened empty, and the store holds rows of another."""


class ApplyRows(Protocol):
    """The verb ``apply``."""

    async def __call__(
        self, store: OnlineStore, writer: ViewWriter, rows: pa.Table, now_us: int, *, fresh: bool
    ) -> None:
        """Apply rows of the view's source; repeating it changes nothing."""


class Materializer:
    """Applies one log to one online store."""

    def __init__(
        self,
        catalogue: Catalogue,
        log: LogReader,
        store: OnlineStore,
        apply: ApplyRows,
        clock: Clock,
        namespace: str,
    ) -> None:
        self._apply = apply
        self._catalogue = catalogue
        self._namespace = namespace
        self._log = log
        self._store = store
        self._clock = clock
        self._writers = self._writers_now()
        self._poke = asyncio.Event()
        self._advanced = asyncio.Condition()
        self.applied: dict[str, int] = {}
        """Fingerprint -> position, as last seen in the store."""
        self._began_empty = log.last_seq() == 0
        self._emptying = False
        self.log_lost = False
        """Whether nothing is applied because of that (``LogLost``)."""
        self.caught_up_once = False
        """Whether the store has held all that the log held, since this process started."""
        self.full = False
        """Whether the store refused the last write for lack of memory."""

    def _writers_now(self) -> list[ViewWriter]:
        views = self._catalogue.views.values()
        return [view_writer(view, self._namespace) for view in views]

    def adopt(self) -> None:
        """The catalogue has other definitions: from the next step on, apply those."""
        self._writers = self._writers_now()
        self.poke()

    def applied_by_view(self) -> dict[str, int]:
        """View name -> the position up to which it is applied."""
        if self._emptying:
            return {writer.view.name: 0 for writer in self._writers}
        return {w.view.name: self.applied.get(w.fingerprint, 0) for w in self._writers}

    def applied_seq(self) -> int:
        """The position up to which every view is applied."""
        return min((self.applied.get(w.fingerprint, 0) for w in self._writers), default=0)

    def start_over(self) -> None:
        """Empty the store in the next step and fill it again from the log: what only keys that are
        gone still took is then free. Until it is filled, look-ups say that the store is away."""
        self._emptying = True
        self.poke()

    def poke(self) -> None:
        """Something was appended: look now."""
        self._poke.set()

    async def wait_applied(self, seq: int) -> None:
        """Wait until every view has applied the log up to ``seq``."""
        self.poke()
        async with self._advanced:
            await self._advanced.wait_for(lambda: self.applied_seq() >= seq or not self._writers)

    async def run(self) -> None:
        """Apply for ever; run it under a ``TaskOwner``. Away or full, the store is tried again."""
        trouble = ""
        while True:
            self._poke.clear()
            try:
                await self.catch_up()
                if trouble:
                    _log.info("online_store_back", applied_seq=self.applied_seq())
                trouble, self.full = "", False
            except LogLost:
                if trouble != "feature_log_lost":
                    _log.error("feature_log_lost", applied_seq=max(self._positions().values()))
                trouble = "feature_log_lost"
            except (RedisAway, Contended) as error:
                self.full = isinstance(error, StoreFull)
                met = "online_store_full" if self.full else "online_store_away"
                if met != trouble:
                    _log.warning(met, reason=str(error))
                trouble = met
            try:
                async with asyncio.timeout(IDLE_S):
                    await self._poke.wait()
            except TimeoutError:
                continue

    async def catch_up(self) -> None:
        """Apply until every view stands at the log's end."""
        self.applied = await self._store.applied()
        another = not self._of_this_log()
        self.log_lost = (
            another and self._began_empty and not self._emptying and any(self._positions().values())
        )
        if self.log_lost:
            raise LogLost
        if another or self._emptying:
            _log.warning("online_store_emptied", of_another_log=another)
            await self._store.wipe()
            self.applied = {}
            self._emptying = False
        source = {LOG_FIELD: self._log.log_id(), LIFE_FIELD: self._log.life()}
        if not source.items() <= self.applied.items():
            await self._record(source)
        last = self._log.last_seq()
        writers = self._writers
        for writer in writers:
            await self._advance(writer, last)
        behind = {
            writer.fingerprint: last
            for writer in writers
            if self.applied.get(writer.fingerprint, -1) < last
        }
        if behind:
            await self._record(behind)
        self.caught_up_once = True
        async with self._advanced:
            self._advanced.notify_all()

    def _of_this_log(self) -> bool:
        """Whether the log has every row that was applied."""
        log_id, life = self._log.log_id(), self._log.life()
        if self.applied.get(LOG_FIELD, log_id) != log_id:
            return False
        # A store that was filled before lives were written down is believed as far as it can be.
        life = self.applied.get(LIFE_FIELD, life)
        return self._log.holds(life, max(self._positions().values(), default=0))

    def _positions(self) -> dict[str, int]:
        """Of the views in the store, also of earlier definitions."""
        return {
            name: at for name, at in self.applied.items() if name not in (LOG_FIELD, LIFE_FIELD)
        }

    async def _advance(self, writer: ViewWriter, last: int) -> None:
        position = self.applied.get(writer.fingerprint)
        source = writer.view.source
        if position is None:
            rows = await asyncio.to_thread(self._log.read, source, 0, last)
            await self._apply(self._store, writer, rows, self._clock.now_us(), fresh=True)
            await self._record({writer.fingerprint: last})
            return
        if position >= last:
            return
        if last - position > ROWS_PER_STEP:
            rows = await asyncio.to_thread(self._log.read, source, position, last)
        else:
            rows = self._log.read(source, position, last)
        for at in range(0, len(rows), ROWS_PER_STEP):
            part = rows.slice(at, ROWS_PER_STEP)
            await self._apply(self._store, writer, part, self._clock.now_us(), fresh=False)
            await self._record({writer.fingerprint: part["__seq"][-1].as_py()})

    async def _record(self, positions: Mapping[str, int]) -> None:
        await self._store.set_applied(positions)
        self.applied.update(positions)
