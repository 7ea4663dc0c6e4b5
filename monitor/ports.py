"""What the verbs need from outside. Stores are synchronous and live in one thread (``Offload``)."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from contracts.manifest import Manifest
from monitor.domain.alerts import Alert
from monitor.domain.exposure import Exposed
from monitor.domain.rows import Lane, Rows
from monitor.domain.scored import Scored
from monitor.domain.sequence import Progress
from monitor.domain.tally import Cell, CellKey, Layout, Volume
from monitor.domain.tickets import Track

T = TypeVar("T")


class Offload(Protocol):
    """Runs blocking work in the one thread that owns the stores."""

    def __call__(self, work: Callable[[], T], /) -> Awaitable[T]: ...


@dataclass(frozen=True, slots=True)
class Entry:
    """One stream entry. ``stream`` and ``entry_id`` name it; ``data`` are a record's bytes."""

    stream: str
    entry_id: str
    producer: str
    number: int
    data: bytes = field(compare=False)


class StreamAway(Exception):
    """The stream cannot be read now; entries wait where they are."""


class EventStream(Protocol):
    """The served log, read as one member of a consumer group."""

    @property
    def more(self) -> bool:
        """The last read was full: the log holds more than it brought."""

    def start_over(self) -> None:
        """What was read and not acknowledged is read again before anything new."""

    async def read(self) -> list[Entry]:
        """Entries not yet acknowledged: first our own pending ones, then new. May be empty."""

    async def read_pending(self, count: int) -> list[tuple[Entry, int]]:
        """Our pending entries with how often each was delivered."""

    async def acknowledge(self, entries: Iterable[Entry]) -> None:
        """These are durable here."""

    async def bury(self, entries: Sequence[tuple[Entry, str]]) -> None:
        """Move entries with a reason to the dead-letter stream and acknowledge them."""

    async def trim(self) -> int:
        """Cut what every group has acknowledged; the number of entries cut."""

    async def backlog(self) -> tuple[int, float]:
        """Entries not acknowledged, and seconds since the oldest of them was written."""


@dataclass(frozen=True, slots=True)
class Part:
    """One Parquet part: rows of one model version."""

    name: str
    model: str
    version: str
    rows: int
    from_us: int
    until_us: int


class Parts(Protocol):
    """Served rows on disk."""

    def write(self, rows: Sequence[Rows], first_id: str, last_id: str) -> list[Part]:
        """Durably writes the rows, a part a model version."""

    def read(self, name: str) -> list[Rows]:
        """The rows of a part. Raises ``OSError`` when it is damaged."""

    def sweep(self, known: set[str]) -> list[str]:
        """Remove what no transaction knows (a crash left it); the names removed."""

    def remove(self, names: Sequence[str]) -> None:
        """Remove parts that no transaction knows any more."""


class Ledger(Protocol):
    """Everything that must change together with what was read from the log."""

    def transaction(self) -> AbstractContextManager[None]:
        """All or nothing, durable at its end."""

    def progress(self, producer: str) -> Progress | None:
        """What has been applied of a producer; None: never seen."""

    def save_progress(self, producer: str, progress: Progress) -> None: ...

    def enter(self, rows: Rows, segments: Sequence[str]) -> npt.NDArray[np.bool_]:
        """Index the rows for labels and evidence; False where a row is known already."""

    def add_parts(self, parts: Iterable[Part], *, folded: bool) -> None: ...

    def add_cells(self, lane: Lane, layout: Layout, cells: dict[CellKey, Cell]) -> None: ...

    def add_volumes(self, lane: Lane, volumes: dict[int, Volume]) -> None: ...

    def add_future(self, rows: Rows) -> None: ...

    def unfolded(self, model: str, version: str) -> list[str]:
        """Parts stored before their baseline was known."""

    def unfolded_versions(self) -> list[tuple[str, str, int]]:
        """Versions with rows that wait for a baseline, and how many."""

    def mark_folded(self, name: str) -> None: ...


@dataclass(frozen=True, slots=True)
class KnownVersion:
    """What the monitor knows of a model version; ``state`` says why there is no layout."""

    model: str
    version: str
    state: Literal["ready", "no_baseline", "unknown", "registry_away"]
    manifest: Manifest | None = None
    layout: Layout | None = None

    @property
    def has_none(self) -> bool:
        """Whether it takes bare tensors and was published without a profile: there is nothing that
        its rows could ever be counted at."""
        return (
            self.manifest is not None
            and self.manifest.task == "raw"
            and self.manifest.file("baseline.json") is None
        )


class Baselines(Protocol):
    """Profiles of model versions."""

    def known(self, model: str, version: str) -> KnownVersion:
        """What is known now, without asking anybody."""

    def versions(self, model: str | None = None) -> list[KnownVersion]:
        """Every version asked about so far."""

    async def learn(self, model: str, version: str) -> KnownVersion:
        """Ask the registry where something is missing."""


@dataclass(frozen=True, slots=True)
class Notice:
    """One message about one group of alerts, for people."""

    title: str
    text: str
    severity: Literal["info", "ticket", "page"]
    status: Literal["firing", "resolved"]
    group: str
    alerts: tuple[dict[str, Any], ...]


class Sink(Protocol):
    """Where notices go."""

    name: str

    async def send(self, notice: Notice) -> None:
        """Raises ``SinkAway`` when it was not taken; it is tried again."""


class SinkAway(Exception):
    """A sink did not take a notice."""


class SinkRefused(SinkAway):
    """It answered and did not take this one; it may take others."""


class Board(Protocol):
    """Where the alerts that fire have to be said again and again, or they count as over."""

    name: str

    async def restate(self, alerts: Sequence[dict[str, Any]]) -> None:
        """Say which fire. Raises ``SinkAway`` when it was not taken."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A version that served in a window."""

    model: str
    version: str
    variant: str
    rows: int


class History(Protocol):
    """Questions about what was stored."""

    def seen(self, model: str | None, from_hour: int, until_hour: int) -> list[Seen]: ...

    def models(self) -> list[str]: ...

    def first_hour(self, model: str | None = None) -> int | None: ...

    def cell(
        self, model: str, version: str, variants: Sequence[str], from_hour: int, until_hour: int,
        baseline: str, segment: str = "",
    ) -> Cell | None: ...  # fmt: skip

    def segments(self, model: str, version: str, from_hour: int, until_hour: int) -> list[str]: ...

    def volumes(
        self, model: str, version: str, variants: Sequence[str], from_hour: int, until_hour: int
    ) -> dict[int, Volume]: ...

    def scored(
        self, model: str, version: str, variants: Sequence[str], from_us: int, until_us: int,
        segment: str = "",
    ) -> Scored: ...  # fmt: skip

    def part_names(self, model: str, version: str, from_us: int, until_us: int) -> list[str]: ...


LabelOutcome = Literal["joined", "waiting", "unchanged", "revised", "superseded", "rejected"]


@dataclass(frozen=True, slots=True)
class Truth:
    """A label, ready to be stored: named by ``key``, or by ``unit`` and ``predicted_us``."""

    model: str
    label: float
    label_us: int
    key: bytes | None = None
    client_id: str | None = None
    row: int = 0
    unit: str | None = None
    predicted_us: int | None = None


@dataclass(frozen=True, slots=True)
class Occurrence:
    """A business event, ready to be stored."""

    model: str
    event_id: str
    name: str
    value: float
    event_us: int
    key: bytes | None = None
    unit: str | None = None


class Labels(Protocol):
    """Where truths are joined to predictions."""

    def upsert(self, truths: Sequence[Truth], received_us: int) -> list[LabelOutcome]:
        """Idempotent; in one transaction."""

    def occur(self, occurrences: Sequence[Occurrence], received_us: int) -> list[bool]:
        """Store business events; False where the event id is known."""

    def waiting(self) -> int:
        """Labels whose prediction has not been seen."""


class Store(Protocol):
    """Which parts there are to join or to let go."""

    def crowded(
        self, before_us: int, parts_min: int, parts_max: int, rows_max: int
    ) -> list[list[Part]]: ...

    def swap(self, old: Sequence[Part], new: Sequence[Part]) -> None: ...

    def forget(self, before_us: int) -> list[str]: ...


class Rollouts(Protocol):
    """The rows behind a rollout's evidence."""

    def exposed(
        self, model: str, rollout_id: str, baseline: str, candidate: str, metric: str | None,
        rows_max: int,
    ) -> tuple[Exposed, list[str]]: ...  # fmt: skip

    def missing(self) -> int:
        """Records that producers numbered and that never came."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a job over one window. ``progress`` goes from 0 to 1; times of day are wall."""

    id: str
    job: str
    model: str
    from_us: int
    until_us: int
    started_us: int
    ended_us: int | None
    state: Literal["running", "done", "failed"]
    progress: float
    result: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Posted:
    """A message in the outbox of one sink."""

    number: int
    sink: str
    notice: Notice
    attempts: int


class Verdicts(Protocol):
    """Runs, alerts, memory between windows, messages."""

    def transaction(self) -> AbstractContextManager[None]: ...

    def done(self, job: str, model: str) -> int | None: ...

    def put_done(self, job: str, model: str, until_us: int) -> None: ...

    def missing(self) -> int: ...

    def put_run(self, run: Run) -> None: ...

    def run(self, run_id: str) -> Run | None: ...

    def runs(
        self, model: str, job: str | None, limit: int, until_us: int | None = None
    ) -> list[Run]: ...

    def prune_runs(self, job: str, before_us: int) -> None: ...

    def tracks(self, model: str) -> dict[tuple[str, str], Track]: ...

    def put_tracks(self, model: str, tracks: Mapping[tuple[str, str], Track]) -> None: ...

    def alerts(self) -> list[Alert]: ...

    def read_alerts(self) -> list[Alert]: ...

    def put_alerts(self, alerts: Iterable[Alert]) -> None: ...

    def told_since(self, model: str, since_us: int) -> int: ...

    def post(self, notices: Sequence[Notice], sinks: Sequence[str], at_us: int) -> None: ...

    def posted(self, limit: int) -> list[Posted]: ...

    def sent(self, number: int, *, ok: bool, attempts_max: int) -> None: ...
