"""Lets shadow versions score what was answered, afterwards, on what capacity is left."""

import asyncio
from collections import deque
from collections.abc import Callable

from contracts.routing import Arm
from inference.domain.asked import Group
from inference.domain.fleet import LoadedVersion
from inference.domain.instances import FieldRefused
from inference.domain.pace import Paces
from inference.domain.served import Served
from inference.ports import Scorer
from kit.clock import Clock

_BUSY_S = 0.005
"""Shadows wait while an arriving row would wait longer than this."""
_AGAIN_S = 0.01


class Shadow:
    """A bounded queue; what does not fit is dropped and counted, never waited for."""

    def __init__(
        self,
        *,
        score: Scorer,
        record: Callable[[Served], None],
        paces: Paces,
        clock: Clock,
        rows_max: int,
    ) -> None:
        self._score = score
        self._record = record
        self._paces = paces
        self._clock = clock
        self._rows_max = rows_max
        self._queue: deque[Group] = deque()
        self._rows = 0
        self._offered = asyncio.Event()

    def offer(self, served: Served) -> None:
        """Remember an answered group for each shadow of its model."""
        group = served.group
        for loaded in group.model.shadows:
            rows = len(group.rows)
            if self._rows + rows > self._rows_max:
                loaded.tally.shadow["dropped"] += rows
                continue
            self._rows += rows
            loaded.in_use += 1
            self._queue.append(_as_shadow(group, loaded))
            self._offered.set()

    async def run(self) -> None:
        """For ever."""
        while True:
            self._offered.clear()
            if not self._queue:
                await self._offered.wait()
            elif self._paces.wait_s() > _BUSY_S:
                await self._clock.sleep_s(_AGAIN_S)
            else:
                await self.step()

    async def step(self) -> None:
        """Score and record the oldest group."""
        group = self._queue.popleft()
        self._rows -= len(group.rows)
        try:
            group.columns = group.loaded.schema.columns(group.rows)
            served, _ = await self._score(group)
        except (FieldRefused, KeyError):
            # The shadow needs fields that these callers did not send.
            group.loaded.tally.shadow["dropped"] += len(group.rows)
            return
        finally:
            group.loaded.in_use -= 1
        self._record(served)
        group.loaded.tally.shadow["computed"] += len(group.rows)


def _as_shadow(group: Group, loaded: LoadedVersion) -> Group:
    arm = Arm(version=loaded.version, variant="shadow", weight=0.0)
    return Group(
        model=group.model,
        arm=arm,
        loaded=loaded,
        epoch=group.epoch,
        owners=group.owners,
        counts=group.counts,
        indices=group.indices,
        rows=group.rows,
        units=group.units,
        afterwards=True,
    )
