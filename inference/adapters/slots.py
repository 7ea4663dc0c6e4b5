"""Who computes next: a fixed number of runs at a time, shared fairly by the lanes."""

from typing import Protocol

from kit.tasks import TaskOwner


class Lane(Protocol):
    """Rows of one model version that wait."""

    weight: float
    served_s: float
    """Compute time received, divided by weight: the lane with the least goes next."""

    @property
    def waiting(self) -> bool: ...

    async def run_next(self) -> float: ...


class Slots:
    """Start-time fair queueing: a busy canary takes its weight's share of the compute time, and no
    more, while the stable version wants the rest."""

    def __init__(self, count: int, tasks: TaskOwner) -> None:
        self.count = count
        self._tasks = tasks
        self._ready: list[Lane] = []
        self._running = 0
        self._virtual_s = 0.0

    def offer(self, lane: Lane) -> None:
        """``lane`` has rows; it is called when its turn comes."""
        if lane not in self._ready:
            # A lane that was idle may not claim the time that it did not ask for.
            lane.served_s = max(lane.served_s, self._virtual_s)
            self._ready.append(lane)
        if self._running < self.count:
            self._running += 1
            self._tasks.start("compute", self._work)

    async def _work(self) -> None:
        """Hold one slot for as long as any lane has rows."""
        try:
            while self._ready:
                lane = min(self._ready, key=lambda one: one.served_s)
                self._virtual_s = lane.served_s
                self._ready.remove(lane)
                await self._run(lane)
        finally:
            self._running -= 1
            if self._ready:  # a run failed: its slot serves on
                self.offer(self._ready[0])

    async def _run(self, lane: Lane) -> None:
        try:
            took_s = await lane.run_next()
            lane.served_s += took_s / max(lane.weight, 1e-3)
        finally:  # what else waits in the lane is served though this run failed
            if lane.waiting and lane not in self._ready:
                self._ready.append(lane)
