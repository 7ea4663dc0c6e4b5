"""A plain DuckDB as-of join: event time only, no statuses, no corrections, no ages."""

import sys
from pathlib import Path

import duckdb
import pyarrow.compute as pc

from bench.feature_peers.measure import report


def main() -> None:
    folder = Path(sys.argv[1])

    def join() -> tuple[int, float]:
        query = f"""
            SELECT l.*, s.* EXCLUDE ("user", event_time, created_time)
            FROM (SELECT *, file_row_number FROM
                  read_parquet('{folder}/labels.parquet', file_row_number = true)) l
            ASOF LEFT JOIN read_parquet('{folder}/source.parquet') s
            ON l."user" = s."user" AND l.event_time >= s.event_time
            ORDER BY file_row_number
        """  # noqa: S608 - a path of our own
        found = duckdb.sql(query).to_arrow_table()
        return len(found), float(pc.sum(found["f0"]).as_py())

    report(join)


if __name__ == "__main__":
    main()
