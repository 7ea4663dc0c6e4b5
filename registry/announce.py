"""Announce: the routing table reaches every replica, at once by push, in any case by poll."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from contracts.routing import ReplicaReport, RoutingTable
from kit.clock import Clock
from registry.domain.readiness import Fleet, crashed
from registry.metrics import EPOCH, REPLICAS_LIVE, TRAFFIC_SHARE
from registry.ports import Ledger, SeenReplica, TablePush, Transaction

POLL_S = 1.0
"""How soon a table that another copy of the registry wrote is noticed here."""


@dataclass(slots=True)
class Announcer:
    """Knows the last table, who waits for the next one, and which replicas there are."""

    ledger: Ledger
    push: TablePush
    clock: Clock
    live_s: float
    table: RoutingTable = field(default_factory=lambda: RoutingTable(epoch=0))
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _newer: asyncio.Event = field(default_factory=asyncio.Event)
    _reading: asyncio.Lock = field(default_factory=asyncio.Lock)
    _released: bool = False
    _reported: dict[str, tuple[ReplicaReport, int]] = field(default_factory=dict)
    _lives: dict[str, set[str]] = field(default_factory=dict)
    """Every ``boot`` heard of a replica: two processes of one name are no row of crashes."""

    def changed(self) -> None:
        """A change has been committed: tell everybody now."""
        self._changed.set()

    async def run(self) -> None:
        """Watch for changes, ours and those of other copies, for ever."""
        while True:
            if await self.refresh():
                await self._push()
            # Not wait_for: on Python 3.11 it loses a cancellation that meets a change.
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL_S):
                    await self._changed.wait()

    async def refresh(self) -> bool:
        """Read the table again; True when it is another than the one known before.

        An older one is what a database has that was restored from a copy. One read at a time:
        of two at once the one that began first might end last, and look like such a copy.
        """
        async with self._reading:
            self._changed.clear()
            table = await self.ledger.read(lambda tx: tx.table())
            if table.tag == self.table.tag:
                return False
            self._show_shares(table)
            self.table = table
            self._wake_waiters()
            return True

    def release(self) -> None:
        """Answer everybody who waits, now and from now on: this process is about to stop."""
        self._released = True
        self._wake_waiters()

    def _wake_waiters(self) -> None:
        self._newer.set()
        self._newer = asyncio.Event()

    async def beyond(self, known: str | None, wait_s: float) -> RoutingTable:
        """The current table; when its tag is ``known``, wait up to ``wait_s`` for another."""
        if await self.refresh():
            self._changed.set()  # the loop pushes what this reader was the first to see
        if self.table.tag != known or wait_s <= 0:
            return self.table
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                while self.table.tag == known and not self._released:
                    await self._newer.wait()
        return self.table

    async def report(self, report: ReplicaReport) -> None:
        """Take a replica's heartbeat; a third of the live time may pass unwritten."""
        before = self._reported.get(report.replica)
        wall_us = self.clock.wall_us()
        if before and before[0] == report and wall_us - before[1] < self.live_s * 1e6 / 3:
            return
        lives = self._lives.setdefault(report.replica, set())
        reborn = report.boot not in lives
        lives.add(report.boot)
        await self.ledger.write(lambda tx: _take(tx, report, reborn=reborn))
        self._reported[report.replica] = (report, wall_us)

    async def replicas(self) -> Sequence[SeenReplica]:
        """Everybody who ever reported, live or not."""
        return await self.ledger.read(lambda tx: tx.replicas())

    async def _push(self) -> None:
        seen = await self.replicas()
        fleet = Fleet.of(
            [(r.report, r.seen_wall_us) for r in seen], self.clock.wall_us(), self.live_s
        )
        REPLICAS_LIVE.set(len(fleet.reports))
        urls = [r.push_url for r in fleet.reports if r.push_url and r.epoch < self.table.epoch]
        if urls:
            await self.push(urls, self.table)

    def _show_shares(self, table: RoutingTable) -> None:
        EPOCH.set(table.epoch)
        for model, route in self.table.models.items():
            for arm in route.arms:
                TRAFFIC_SHARE.labels(model, arm.version).set(0.0)
        for model, route in table.models.items():
            for arm in route.arms:
                TRAFFIC_SHARE.labels(model, arm.version).set(arm.weight)


def _take(tx: Transaction, report: ReplicaReport, *, reborn: bool) -> None:
    """Keep the report; a replica that died counts against every rollout it was working for."""
    known = {one.report.replica: one.report for one in tx.replicas()}
    if reborn and crashed(known.get(report.replica), report):
        for rollout in tx.rollouts(unsettled=True):
            if rollout.is_active and rollout.status != "warming":
                died = rollout.model_copy(update={"crashes": rollout.crashes + 1})
                tx.put_rollout(died)
    for one in report.versions:
        if tx.version(one.model, one.version) is None:  # of a database that this one replaced
            tx.avoid_version(one.model, one.version)
    tx.put_replica(report)
