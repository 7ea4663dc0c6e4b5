"""Keeps the store small: many small parts become one an hour, those one a day, and what is old is
let go."""

from kit.clock import Clock
from kit.logs import get_logger
from monitor.domain.rows import HOUR_US
from monitor.ports import Offload, Part, Parts, Store

_log = get_logger(__name__)

PARTS_WORTH_JOINING = 8
PARTS_JOINED_MAX = 1_000
"""The log is not applied while parts are joined: about a second for so many."""
LEFT_ALONE_US = 600_000_000
"""What has just ended is being judged, from the parts that it has."""
ROWS_A_PART_MAX = 500_000


class Tend:
    """Runs now and then; every step may be killed, and the next run goes on."""

    def __init__(
        self, store: Store, parts: Parts, offload: Offload, clock: Clock, *, keep_us: int
    ) -> None:
        self._store = store
        self._parts = parts
        self._offload = offload
        self._clock = clock
        self._keep_us = keep_us

    async def run(self) -> None:
        """Join the parts of ended hours and days, one of one version at a time; then forget."""
        ended_us = (self._clock.now_us() - LEFT_ALONE_US) // HOUR_US * HOUR_US
        groups = await self._offload(
            lambda: self._store.crowded(
                ended_us, PARTS_WORTH_JOINING, PARTS_JOINED_MAX, ROWS_A_PART_MAX
            )
        )
        for group in groups:
            await self._offload(lambda g=group: self._join(g))  # type: ignore[misc]
        before_us = self._clock.now_us() - self._keep_us
        gone = await self._offload(lambda: self._store.forget(before_us))
        if gone:
            await self._offload(lambda: self._parts.remove(gone))
            _log.info("old_parts_removed", parts=len(gone))

    def _join(self, group: list[Part]) -> None:
        """Write the joined part, swap the names in one transaction, then remove the old files.

        Killed before the swap: the new file is swept. Killed after it: the old ones are.
        """
        try:
            rows = [some for part in group for some in self._parts.read(part.name)]
        except OSError as error:
            _log.error("part_damaged", reason=str(error))
            return
        first, last = group[0].name.split("/")[-1], group[-1].name.split("/")[-1]
        ends = first.split("_")[0], last.removesuffix(".parquet").split("_")[-1]
        joined = self._parts.write(rows, f"day-{ends[0].removeprefix('day-')}", ends[1])
        self._store.swap(group, joined)
        self._parts.remove([part.name for part in group])
