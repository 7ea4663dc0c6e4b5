"""A plain polars as-of join: event time only, no statuses, no corrections, no ages."""

import sys
from pathlib import Path

import polars as pl

from bench.feature_peers.measure import report


def main() -> None:
    folder = Path(sys.argv[1])

    def join() -> tuple[int, float]:
        source = pl.read_parquet(folder / "source.parquet").drop("created_time")
        labels = pl.read_parquet(folder / "labels.parquet").with_row_index()
        found = (
            labels.sort("event_time")
            .join_asof(source.sort("event_time"), on="event_time", by="user")
            .sort("index")
        )
        return len(found), float(found["f0"].sum())

    report(join)


if __name__ == "__main__":
    main()
