"""The feature store as a training script, a notebook and the command line call it.

    store = FeatureStore.open(Path(".leadline"), ["leadline.demo.features"])
    training = store.get_historical_features(
        entity_df=flights,                      # pandas, polars or Arrow; the same kind comes back
        feature_refs=["carrier_late:share_7d"], # or feature_service="delay_v2"
        at="asked_at",                          # the column with each row's instant (zone-aware)
    )
    now = store.get_online_features(entity_rows=[{"carrier": "UA"}], feature_refs=[...])

Same refs, same column names (the refs), same statuses (``<ref>__status``). Reading needs no
service: the log is read where it lies and the online store is asked directly. Writing takes the
log's lock, which the running service holds; push through it, or ``load`` before it starts.
"""

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

from feature_store.adapters.dataframes import from_arrow, to_arrow
from feature_store.adapters.engine_by_size import BySizeEngine
from feature_store.adapters.engine_duckdb import DuckdbEngine
from feature_store.adapters.engine_numpy import NumpyEngine
from feature_store.adapters.log_parquet import ParquetLog
from feature_store.adapters.log_writer_parquet import LogWriter
from feature_store.adapters.quarantine_files import QuarantineFiles
from feature_store.domain.as_of import Mode
from feature_store.join_as_of import join_as_of, labels_of, with_columns
from feature_store.look_up import Answered, look_up
from feature_store.online import OnlineReader, Pipeline
from feature_store.pin import Pin, pin_log, position
from feature_store.ports import HistoricalEngine
from feature_store.push import Pushed, Pusher
from kit.clock import Clock, SystemClock
from kit.redis_pipeline import PipelinedRedis
from shared_features import Catalogue, CompiledService, load_catalogue

EngineName = Literal["auto", "numpy", "duckdb"]
DUCKDB_FROM_BYTES = 2 << 30
READ_TIMEOUT_MS = 1000.0
NAMESPACE = "ll"


class FeatureStore:
    """Definitions and their log, and where asked for the online store."""

    def __init__(
        self,
        catalogue: Catalogue,
        log_folder: Path,
        *,
        redis_url: str | None = None,
        pipeline: Pipeline | None = None,
        clock: Clock | None = None,
        namespace: str = NAMESPACE,
    ) -> None:
        self.catalogue = catalogue
        self.log = ParquetLog(log_folder)
        self._redis_url = redis_url
        self._pipeline = pipeline
        self._clock = clock or SystemClock()
        self._namespace = namespace

    @classmethod
    def open(
        cls,
        state_dir: Path,
        feature_modules: Sequence[str],
        *,
        redis_url: str | None = None,
        clock: Clock | None = None,
    ) -> "FeatureStore":
        """The store of a state directory; nothing is connected or locked yet."""
        catalogue = load_catalogue(feature_modules)
        folder = state_dir / "feature_store" / "log"
        return cls(catalogue, folder, redis_url=redis_url, clock=clock)

    def compile(
        self,
        feature_refs: Sequence[str] | None = None,
        feature_service: str | None = None,
        aliases: Mapping[str, Mapping[str, str]] | None = None,
    ) -> CompiledService:
        """The named service, or the refs as they come; exactly one of the two."""
        return compile_asked(self.catalogue, feature_refs, feature_service, aliases)

    def get_historical_features(
        self,
        entity_df: Any,
        feature_refs: Sequence[str] | None = None,
        *,
        feature_service: str | None = None,
        at: str = "event_time",
        mode: Mode = "known",
        aliases: Mapping[str, Mapping[str, str]] | None = None,
        as_of_seq: int | None = None,
        statuses: bool = True,
        engine: EngineName = "auto",
    ) -> Any:
        """The rows of ``entity_df`` (pandas, polars, Arrow), in order, with a column for each ref.

        ``at`` names the zone-aware timestamp column with each row's instant. With ``statuses``
        there is also ``<ref>__status``. ``as_of_seq`` pins the log (see ``pin``).
        """
        service = self.compile(feature_refs, feature_service, aliases)
        table = to_arrow(entity_df)
        labels = labels_of(table, at)
        joined = join_as_of(
            service,
            labels,
            self.log,
            engine_named(engine),
            mode=mode,
            as_of_seq=position(self.log, as_of_seq),
        )
        return from_arrow(with_columns(table, joined, statuses=statuses), entity_df)

    def pin(self, seq: int | None = None) -> Pin:
        """The log up to ``seq`` (default: its end), with a hash of every row up to there.

        Pass ``pin.seq`` as ``as_of_seq`` and keep ``pin.manifest_sha256`` with the data set: later
        rows change neither, so that the data set can be built again, byte for byte.
        """
        return pin_log(self.log, list(self.catalogue.sources.values()), seq)

    def get_online_features(
        self,
        entity_rows: Sequence[Mapping[str, Any]],
        feature_refs: Sequence[str] | None = None,
        *,
        feature_service: str | None = None,
        aliases: Mapping[str, Mapping[str, str]] | None = None,
    ) -> Answered:
        """The features of each row as known now. For scripts: it connects for this one call.

        Raises ``RedisAway`` when the online store is away.
        """
        service = self.compile(feature_refs, feature_service, aliases)

        async def ask() -> Answered:
            if self._pipeline is not None:
                reader = OnlineReader(self._pipeline, self._namespace)
                return await look_up(reader, reader.plan(service), entity_rows, self._clock)
            if self._redis_url is None:
                raise ValueError("open the store with redis_url to ask for online features")
            pipeline = PipelinedRedis(self._redis_url, timeout_ms=READ_TIMEOUT_MS)
            await pipeline.start()
            try:
                reader = OnlineReader(pipeline, self._namespace)
                return await look_up(reader, reader.plan(service), entity_rows, self._clock)
            finally:
                await pipeline.stop()

        return asyncio.run(ask())

    def load(self, name: str, rows: Any) -> Pushed:
        """Load a DataFrame, an Arrow table or mappings into the log, as a push would.

        Takes the writer's lock: raises ``LogBusy`` while the service runs.
        """

        async def push() -> Pushed:
            folder = self.log.folder
            with LogWriter(folder) as writer, ThreadPoolExecutor(1) as executor:
                quarantine = QuarantineFiles(folder.parent / "quarantine")
                pusher = Pusher(self.catalogue, writer, quarantine, self._clock, executor)
                if isinstance(rows, list | tuple):
                    return await pusher.push_rows(name, rows)
                return await pusher.push_table(name, to_arrow(rows))

        return asyncio.run(push())


def engine_named(name: str) -> HistoricalEngine:
    """The historical engine of that name."""
    if name == "numpy":
        return NumpyEngine()
    if name == "duckdb":
        return DuckdbEngine()
    if name == "auto":
        return BySizeEngine(DUCKDB_FROM_BYTES)
    raise ValueError(f"there is no historical engine {name!r}; use auto, numpy or duckdb")


def compile_asked(
    catalogue: Catalogue,
    feature_refs: Sequence[str] | None,
    feature_service: str | None,
    aliases: Mapping[str, Mapping[str, str]] | None = None,
) -> CompiledService:
    """The named service, or the refs as they come; exactly one of the two."""
    if (feature_refs is None) == (feature_service is None):
        raise ValueError("give feature_refs or feature_service, one of the two")
    if feature_service is not None:
        return catalogue.compile(feature_service)
    assert feature_refs is not None
    return catalogue.compile_refs(feature_refs, aliases)
