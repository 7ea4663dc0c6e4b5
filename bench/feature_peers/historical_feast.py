"""Feast with its DuckDB offline store: ``python historical_feast.py FOLDER``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import pandas as pd

from bench.feature_peers.feast_repo import REFS, store
from bench.feature_peers.measure import report


def main() -> None:
    folder = Path(sys.argv[1])
    feast = store(folder, "duckdb")

    def join() -> tuple[int, float]:
        labels = pd.read_parquet(folder / "labels.parquet")
        labels = labels.rename(columns={"event_time": "event_timestamp"})
        found = feast.get_historical_features(entity_df=labels, features=REFS).to_df()
        return len(found), float(found["f0"].sum())

    report(join)


if __name__ == "__main__":
    main()
