"""Chooses the engine for each view by how much log it has to read."""

from collections.abc import Sequence

import pyarrow as pa

from feature_store.adapters.engine_duckdb import DuckdbEngine
from feature_store.adapters.engine_numpy import NumpyEngine
from feature_store.domain.as_of import Mode
from feature_store.domain.join import Joined
from feature_store.domain.schema import Int64s
from feature_store.ports import HistoricalEngine, LogReader
from shared_features import View


class BySizeEngine:
    """numpy while the source fits in memory, DuckDB beyond."""

    def __init__(self, duckdb_from_bytes: int) -> None:
        self._duckdb_from_bytes = duckdb_from_bytes

    def join(
        self,
        view: View,
        log: LogReader,
        keys: Sequence[pa.Array],
        label_us: Int64s,
        mode: Mode,
        as_of_seq: int | None,
    ) -> Joined:
        """See ``ports.HistoricalEngine``."""
        large = log.bytes_of(view.source) >= self._duckdb_from_bytes
        engine: HistoricalEngine = DuckdbEngine() if large else NumpyEngine()
        return engine.join(view, log, keys, label_us, mode, as_of_seq)
