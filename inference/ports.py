"""What the verbs need from outside."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from contracts.manifest import Manifest
from contracts.routing import ReplicaReport, RoutingTable
from inference.domain.asked import Arrival, Group
from inference.domain.fleet import Computed, LoadedVersion, Tensor
from inference.domain.inputs import FeatureColumn, Features
from inference.domain.served import Served
from inference.domain.spool_record import SpoolPlace, SpoolRecord
from kit.problems import Problem


class FeatureRows(Protocol):
    """n looked-up rows by ref."""

    @property
    def columns(self) -> Mapping[str, FeatureColumn]: ...

    @property
    def applied_seq(self) -> int:
        """Position in the feature log up to which what was read is applied."""


class FeatureReader(Protocol):
    """The feature store's online side (``feature_store.online.OnlineReader``)."""

    def plan(self, service: Any) -> Any:
        """Compile a feature service once; what comes back is only handed to ``look_up``."""

    async def look_up(
        self, plan: Any, entity_rows: Sequence[Mapping[str, Any]], now_us: int
    ) -> FeatureRows:
        """All features of all rows in one round trip, within the time-out of its connection.

        Raises ``RedisAway``, ``RedisError`` or ``TimeoutError`` when the store cannot answer.
        """


@dataclass(frozen=True, slots=True)
class Routed:
    """What became of everything that arrived in one turn."""

    groups: list[Group]
    refused: list[tuple[Arrival, Problem]]


class Cache(Protocol):
    """Answers that versions gave before."""

    async def compute(
        self,
        loaded: LoadedVersion,
        feeds: dict[str, Tensor],
        deadlines_ns: npt.NDArray[np.int64],
    ) -> tuple[Computed, npt.NDArray[np.bool_]]:
        """Compute what is not remembered; also which rows were."""


class Scorer(Protocol):
    """The verb ``score``."""

    async def __call__(self, group: Group) -> tuple[Served, Features]:
        """What the group's version says of its rows."""


class Responder(Protocol):
    """Gives each caller its own answer, once."""

    def answer(self, served: Served, features: Features) -> None:
        """Answer the owners of a group."""

    def refuse(self, arrival: Arrival, problem: Problem) -> None:
        """Answer one request with a problem, unless it has been answered."""


class Spool(Protocol):
    """Where served events become durable."""

    def append(self, payload: bytes, rows: int) -> None:
        """Keep one record of that many rows; on return a killed process does not lose it."""


class SpoolReader(Protocol):
    """The spool, as the shipper sees it."""

    @property
    def cursor(self) -> SpoolPlace:
        """What lies before is durable elsewhere."""

    def read(self, place: SpoolPlace, bytes_max: int) -> tuple[Sequence[SpoolRecord], SpoolPlace]:
        """Records from ``place`` on and the place behind them."""

    def release(self, place: SpoolPlace) -> None:
        """What lies before ``place`` is durable elsewhere: forget it."""


class Stream(Protocol):
    """Where served events go. All raise ``RedisAway``, ``RedisError`` or ``TimeoutError``."""

    async def begin(self) -> None:
        """Remember which server is there: entries it loses by restarting must be added again."""

    async def add(self, records: Sequence[SpoolRecord]) -> None:
        """Append entries; after an error some may have been added."""

    async def acknowledged(self) -> bool:
        """Wait until everything added since ``begin`` is on the server's disk.

        False: the server cannot say. Raises also when it is another server than at ``begin``.
        """


class RegistryAway(Exception):
    """The registry cannot be reached, or does not answer as a registry does."""


class Registry(Protocol):
    """The registry, and what of it was last seen. Its calls raise ``RegistryAway``."""

    async def table(self, known: str | None, wait_s: float) -> RoutingTable | None:
        """The routing table; None when its tag is still ``known`` after ``wait_s`` seconds.

        ``known`` None asks for whatever there is, at once.
        """

    async def manifest(self, model: str, version: str, *, kept: bool = False) -> Manifest:
        """A version's manifest, also of one seen before while the registry is away; ``kept``: as
        it was seen before, without asking."""

    async def report(self, report: ReplicaReport) -> None:
        """Say which versions this replica serves."""

    def last_table(self) -> RoutingTable | None:
        """The table that was last put into effect, or None; blocking."""

    async def keep_table(self, table: RoutingTable) -> None:
        """Keep the table for a start without a registry."""


class Builder(Protocol):
    """Makes a loaded version; blocking."""

    def build(self, manifest: Manifest, version: str, files: Mapping[str, bytes]) -> LoadedVersion:
        """Raises an exception whose text says why the version cannot be served."""


class Trials(Protocol):
    """Remembers which models ended the process that loaded them."""

    def begin(self, sha256: str) -> AbstractContextManager[None]:
        """While a model is being loaded. Raises ``ValueError`` for one that is to be left alone."""

    def close(self) -> None:
        """The process ends because it was asked to."""


class Artifacts(Protocol):
    """Model files by content."""

    async def bring(self, sha256: str, size_bytes: int) -> bytes:
        """The verified bytes. Raises ``RegistryAway``, ``ValueError`` when they are others."""
