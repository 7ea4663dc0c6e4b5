"""Knows which routing table counts: the registry's newest, pushed or polled."""

import asyncio

from contracts.routing import RoutingTable
from inference.ports import Registry, RegistryAway
from kit.clock import Clock
from kit.logs import get_logger

_log = get_logger(__name__)
_AGAIN_S = 1.0
"""Until the next poll, after one that changed nothing."""


class Follow:
    """Asks the registry for ever, and takes what it pushes meanwhile."""

    def __init__(self, registry: Registry, clock: Clock, poll_s: float) -> None:
        self._registry = registry
        self._clock = clock
        self._poll_s = poll_s
        self.table: RoutingTable | None = None
        """What is to be served; None before anybody has said."""
        self.changed = asyncio.Event()
        self.away = False
        self._lost: frozenset[str] = frozenset()
        """Models of ``table`` that a restored registry has never heard of."""

    def offer(self, table: RoutingTable) -> None:
        """A table was pushed; the newest wins, in whatever order they come."""
        wanted = self.table
        if wanted is None or (table.epoch > wanted.epoch and self._lost <= table.models.keys()):
            self._want(table)

    async def poll_for_ever(self) -> None:
        """Each poll waits at the registry until there is another table than ours."""
        while True:
            known = None if self.table is None else self.table.tag
            try:
                table = await self._registry.table(known, self._poll_s)
            except RegistryAway as away:
                if not self.away:
                    _log.warning("registry_away", reason=str(away))
                self.away = True
                await self._clock.sleep_s(_AGAIN_S)
                continue
            self.away = False
            if table is not None and not self._obey(table, known):
                await self._clock.sleep_s(_AGAIN_S)

    def _obey(self, table: RoutingTable, known: str | None) -> bool:
        """Take what the registry answered to one who has ``known``; False when it is not taken.

        A registry that was restored from a copy answers with an older table, and is obeyed all the
        same: it cannot steer those who do not listen. One that has lost a model on the way is
        obeyed once it knows it again, so that no caller loses a model by a restore.
        """
        wanted = self.table
        if wanted is None or wanted.tag != known:
            self.offer(table)  # what was pushed while the answer was on its way may be newer
            return True
        if table.epoch <= wanted.epoch or self._lost:
            lost = frozenset(wanted.models.keys() - table.models.keys())
            if not lost or lost != self._lost:
                _log.warning("registry_went_back", known=known, to=table.tag, lost=sorted(lost))
            self._lost = lost
            if lost:
                return False
        self._want(table)
        return True

    def _want(self, table: RoutingTable) -> None:
        self.table = table
        self._lost = frozenset()
        self.changed.set()
