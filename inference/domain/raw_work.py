"""Calls that brought their own tensors, read, and how those that may share a run wait for it."""

from collections import deque
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


class Waiting:
    """Works of short runs, by kind. The kinds take turns, so that none waits for all of another."""

    def __init__(self) -> None:
        self._kinds: dict[Hashable, deque[Work]] = {}

    def __bool__(self) -> bool:
        return bool(self._kinds)

    def add(self, work: Work) -> None:
        """Behind those of its kind."""
        kind = work.kind
        works = self._kinds.get(kind)
        if works is None:
            self._kinds[kind] = deque((work,))
        else:
            works.append(work)

    def take(self) -> list[Work]:
        """The oldest of the next kind, at least one, and as many as one short run can take."""
        kind = next(iter(self._kinds))
        works = self._kinds.pop(kind)
        rows = works[0].head.rows
        left = rows * max(1, works[0].loaded.engine.quick(rows))
        taken: list[Work] = []
        while works and (not taken or works[0].head.rows <= left):
            taken.append(works.popleft())
            left -= taken[-1].head.rows
        if works:
            self._kinds[kind] = works
        return taken
