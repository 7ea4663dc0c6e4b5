"""What the verbs need from outside."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from feature_store.domain.as_of import Mode
from feature_store.domain.join import Joined
from feature_store.domain.schema import Int64s
from kit.redis_pipeline import RedisAway
from shared_features import Source, View

Fields = list[bytes | None]


class LogReader(Protocol):
    """The append-only log of feature rows."""

    def log_id(self) -> int:
        """A number that no other log has."""

    def life(self) -> int:
        """A number that no other life of this log has; another one after every opening."""

    def holds(self, life_id: int, seq: int) -> bool:
        """Whether everything up to ``seq`` is what was there in that life."""

    def last_seq(self) -> int:
        """Position of the last row; 0 when there is none."""

    def parts(self, source: Source) -> "LogParts":
        """The files of a source, and the rows that are in none yet."""

    def bytes_of(self, source: Source) -> int:
        """About how much memory the source's rows take."""

    def read(self, source: Source, after_seq: int = 0, up_to_seq: int | None = None) -> pa.Table:
        """Rows of a source with ``after_seq < seq <= up_to_seq``, in order of seq
        (``domain.schema.source_schema``)."""

    def read_columns(
        self,
        source: Source,
        columns: Sequence[str],
        after_seq: int = 0,
        up_to_seq: int | None = None,
    ) -> pa.Table:
        """As ``read``, only these columns."""


@dataclass(frozen=True, slots=True)
class LogParts:
    """Where a source's rows lie, for engines that read files themselves."""

    files: list[Path]
    rest: pa.Table
    """Rows that are in no file yet."""


class HistoricalEngine(Protocol):
    """Joins a view to labels as of their instants. All engines agree bit for bit."""

    def join(
        self,
        view: View,
        log: LogReader,
        keys: Sequence[pa.Array],
        label_us: Int64s,
        mode: Mode,
        as_of_seq: int | None,
    ) -> Joined:
        """The view's features for labels with these key columns; one answer a label, in order."""


class Contended(RuntimeError):
    """Other writers keep changing the same value; the batch is tried again later."""


class StoreFull(RedisAway):
    """The store answers and has no memory left: it is read as ever, and takes no write."""


@dataclass(frozen=True, slots=True)
class Swap:
    """A write that happens only if the main field still begins with ``guard`` (None: is absent)."""

    key: bytes
    field: bytes
    guard: bytes | None
    value: bytes
    also: Mapping[bytes, bytes]
    drop: tuple[bytes, ...] = ()
    whole: bool = False
    """The field must be ``guard``, not only begin with it."""


class OnlineStore(Protocol):
    """Packed values by (hash, field). Methods raise ``RedisAway`` when the store is away, and what
    writes ``StoreFull``."""

    async def get(self, wanted: Sequence[tuple[bytes, Sequence[bytes]]]) -> list[Fields]:
        """The fields of each hash; None where absent."""

    async def put(self, values: Sequence[tuple[bytes, Mapping[bytes, bytes]]]) -> None:
        """Write whatever is there; only for views that nobody else writes yet."""

    async def put_newer(self, records: Sequence[tuple[bytes, bytes, bytes]]) -> list[int]:
        """Keep the greater (event, created, seq) of what is there and each (hash, field, record).

        Returns the places of those that need ``swap``: rows wait in the value that is there.
        """

    async def swap(self, swaps: Sequence[Swap]) -> list[int]:
        """Apply swaps; returns the places of those that lost to another writer."""

    async def applied(self) -> dict[str, int]:
        """View fingerprint -> position up to which its rows are applied; empty after a loss.

        ``domain.plan.LOG_FIELD`` and ``LIFE_FIELD`` -> of which log, and which of its lives.
        """

    async def set_applied(self, positions: Mapping[str, int]) -> None:
        """Record positions; after the values they stand for."""

    async def wipe(self) -> None:
        """Delete everything of this namespace."""

    async def fields_of(self, field: bytes) -> list[tuple[bytes, bytes]]:
        """Every (hash, value) that has the field; for audits."""


class ServedLog(Protocol):
    """What inference served, record by record. Methods raise ``RedisAway``."""

    async def read(self) -> list[bytes]:
        """The next records that carry lineage, a bounded number of them; none when all are read."""

    async def done(self) -> None:
        """What was read so far need not be read again."""

    async def lag_s(self) -> float:
        """How far the newest record is ahead of what was read."""
