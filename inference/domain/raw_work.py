"""Calls that brought their own tensors, read, and how those that may share a run wait for it."""

from collections import Counter, deque
from collections.abc import Hashable
from dataclasses import dataclass

from contracts.frames import Answer
from inference.domain.asked import Arrival
from inference.domain.fleet import LoadedVersion, ServedModel, Tensor
from inference.domain.open_inference import InferHead
from inference.domain.raw_call import Call


@dataclass(slots=True, eq=False)
class Work:
    """What is to be computed, and for whom. It counts as a use of its version until answered."""

    call: Call
    loaded: LoadedVersion
    route: ServedModel | None
    epoch: int
    head: InferHead
    inputs: dict[str, Tensor]
    read_ns: int
    """When it had been read; from then on it waits."""
    arrival: Arrival | None = None

    @property
    def unit(self) -> str:
        """What it is recorded under."""
        return self.head.unit or self.call.request_id.hex()

    @property
    def wanted(self) -> bool:
        """Whether somebody still waits for the answer."""
        return self.arrival is None or self.arrival.wanted

    def answer(self, answer: Answer) -> None:
        """Tell whoever asked over frames."""
        if self.arrival is not None:
            self.arrival.answer(answer)

    @property
    def kind(self) -> Hashable:
        """Equal for calls that may share a run, and a record of it."""
        return id(self.loaded), id(self.route), self.epoch, self.head.kind


SHORT_RUNS_MAX = 2
"""What waits for more than so many short runs goes to a thread, as one: the event loop then reads
and writes meanwhile, and the way to a thread and back (100 µs) is shared by many."""


class Waiting:
    """Works that wait for a run, by kind. The kinds take turns, so that none waits for all of
    another; what waits for the threads to be done waits for nothing else."""

    def __init__(self) -> None:
        self._ready: dict[Hashable, deque[Work]] = {}
        self._parked: dict[Hashable, deque[Work]] = {}
        self._under_way: Counter[Hashable] = Counter()

    def __bool__(self) -> bool:
        return bool(self._ready)

    def add(self, work: Work) -> None:
        """Behind those of its kind."""
        kind = work.kind
        works = self._ready.get(kind) or self._parked.get(kind)
        if works is None:
            self._ready[kind] = deque((work,))
        else:
            works.append(work)

    def take(self) -> tuple[list[Work], bool]:
        """The oldest of the next kind: a short run for here and now, or True and a batch for a
        thread; none where the threads have enough of it."""
        kind = next(iter(self._ready))
        works = self._ready.pop(kind)
        loaded, rows = works[0].loaded, works[0].head.rows
        short = loaded.engine.quick(rows)
        rows_max = loaded.manifest.rows_per_batch_max
        away = not short or min(len(works), rows_max // rows) > SHORT_RUNS_MAX * short
        if away and self._under_way[kind] >= loaded.engine.runs_at_once:
            self._parked[kind] = works
            return [], True
        left = rows_max if away else rows * short
        taken: list[Work] = []
        while works and (not taken or works[0].head.rows <= left):
            taken.append(works.popleft())
            left -= taken[-1].head.rows
        if works:
            self._ready[kind] = works
        if away:
            self._under_way[kind] += 1
        return taken, away

    def done(self, kind: Hashable) -> None:
        """A batch has come back from its thread."""
        self._under_way[kind] -= 1
        if not self._under_way[kind]:
            del self._under_way[kind]
        works = self._parked.pop(kind, None)
        if works is not None:
            self._ready[kind] = works
