"""Leadline: ``python -m bench.feature_peers.historical_ours FOLDER numpy|duckdb``."""

import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bench.feature_peers.definitions import REFS, catalogue
from bench.feature_peers.measure import report
from feature_store.facade import FeatureStore


def main() -> None:
    folder, engine = Path(sys.argv[1]), sys.argv[2]

    def join() -> tuple[int, float]:
        store = FeatureStore(catalogue(), folder / "log")
        rows = pq.read_table(folder / "labels.parquet")
        assert engine in ("numpy", "duckdb")
        table: pa.Table = store.get_historical_features(
            rows, REFS, engine="duckdb" if engine == "duckdb" else "numpy"
        )
        return len(table), pc.sum(table["stats:f0"]).as_py()

    pa.array([0])  # pyarrow imports pandas here where it is installed; imports are not timed
    report(join)


if __name__ == "__main__":
    main()
