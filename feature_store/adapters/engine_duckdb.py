"""The historical engine for logs that exceed memory: DuckDB reads the segments and may spill.

For the latest row it finds *which row* each label sees: the rows are made one for each (key,
available) first, so that the order of ties cannot matter to the as-of join, ids only are joined,
and the values of the rows found are read once. Windows are cut by key into parts that fit, and each
part goes through the same vectors as in memory: exact sums have one implementation.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feature_store.domain.as_of import Mode
from feature_store.domain.join import Joined, JoinedColumn, join_view, judged
from feature_store.domain.schema import Int64s, row_times, source_schema
from feature_store.ports import LogReader
from shared_features import FeatureView, View

ROWS_PER_PART = 4_000_000
BUCKETS_MAX = 256

_AS_OF = """
WITH winners AS (
  SELECT {keys}, available, max(struct_pack(e := event, c := created, s := seq)) AS best
  FROM rows_seen GROUP BY ALL
), running AS (
  SELECT {keys}, available, max(best) OVER (
    PARTITION BY {keys} ORDER BY available ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
  ) AS best
  FROM winners
)
SELECT labels.number AS number, running.best.s AS seq
FROM labels ASOF JOIN running ON {same} AND labels.at >= running.available
"""


class DuckdbEngine:
    """One in-memory DuckDB connection a join; what does not fit goes to its temporary folder."""

    def __init__(self, memory_limit: str = "1GB") -> None:
        self._memory_limit = memory_limit

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
        import duckdb  # optional, heavy

        names = list(view.entity.keys)
        with duckdb.connect(config={"memory_limit": self._memory_limit}) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            _register_log(connection, view, log, mode, as_of_seq)
            labels = pa.table(
                {
                    **dict(zip(names, keys, strict=True)),
                    "at": pa.array(label_us),
                    "number": pa.array(np.arange(len(label_us))),
                }
            )
            connection.register("labels", labels)
            if isinstance(view, FeatureView):
                return _latest(connection, view, label_us)
            return _windows(connection, view, labels, mode)


def _register_log(
    connection: Any, view: View, log: LogReader, mode: Mode, as_of_seq: int | None
) -> None:
    """``log_rows``: the source's rows up to the pin; ``rows_seen``: those with whole keys."""
    parts = log.parts(view.source)
    connection.register("rest", parts.rest)
    files = [str(path) for path in parts.files]
    sealed = "SELECT * FROM rest"
    if files:
        connection.execute(
            "CREATE TEMP VIEW sealed AS SELECT * FROM read_parquet("  # noqa: S608 - own text
            f"{_texts(files)}, union_by_name = true)"
        )
        sealed = "SELECT * FROM sealed UNION ALL BY NAME SELECT * FROM rest"
    pin = "" if as_of_seq is None else f"WHERE __seq <= {int(as_of_seq)}"
    connection.execute(
        f"CREATE TEMP VIEW log_rows AS SELECT * FROM ({sealed}) {pin}"  # noqa: S608 - own text
    )
    lag = view.source.lag_us
    known = "greatest(__event_us, __created_us" + (
        ", __ingested_us)" if lag is None else f") + {lag}"
    )
    available = "__event_us" if mode == "event" else known
    names = list(view.entity.keys)
    whole = " AND ".join(f'"{name}" IS NOT NULL' for name in names)
    connection.execute(
        f"CREATE TEMP VIEW rows_seen AS SELECT {_columns(names)}, __event_us AS event, "  # noqa: S608 - own text
        f"__created_us AS created, __seq AS seq, {available} AS available "
        f"FROM log_rows WHERE {whole}"
    )


def _latest(connection: Any, view: FeatureView, label_us: Int64s) -> Joined:
    names = list(view.entity.keys)
    same = " AND ".join(f'labels."{name}" = running."{name}"' for name in names)
    connection.execute(
        "CREATE TEMP TABLE found AS " + _AS_OF.format(keys=_columns(names), same=same)
    )
    found = connection.sql("SELECT number, seq FROM found").to_arrow_table()
    wanted = [n for n in source_schema(view.source).names if n.startswith("__")]
    wanted += list(view.features)
    rows = connection.sql(
        f"SELECT {_columns(wanted)} FROM log_rows "  # noqa: S608 - own text
        "WHERE __seq IN (SELECT seq FROM found) ORDER BY __seq"
    ).to_arrow_table()
    schema = source_schema(view.source)
    rows = rows.cast(pa.schema([schema.field(name) for name in wanted]))
    place = np.full(len(label_us), -1, np.int64)
    seqs = rows["__seq"].to_numpy()
    place[found["number"].to_numpy()] = np.searchsorted(seqs, found["seq"].to_numpy())
    return judged(view, rows, row_times(rows, view.source.lag_us), place, label_us)


def _windows(connection: Any, view: View, labels: pa.Table, mode: Mode) -> Joined:
    names = list(view.entity.keys)
    schema = source_schema(view.source)
    rows = connection.execute("SELECT count(*) FROM log_rows").fetchall()[0][0]
    buckets = min(BUCKETS_MAX, rows // ROWS_PER_PART + 1)
    answers: list[tuple[Any, Joined]] = []
    for bucket in range(buckets):
        part = f"hash({_columns(names)}) % {buckets} = {bucket}"
        own = connection.sql(
            f"SELECT * FROM log_rows WHERE {part} ORDER BY __seq"  # noqa: S608 - own text
        ).to_arrow_table()
        asked = connection.sql(
            f"SELECT * FROM labels WHERE {part} ORDER BY number"  # noqa: S608 - own text
        ).to_arrow_table()
        own = own.select(schema.names).cast(schema)
        at: Int64s = asked["at"].to_numpy()
        keys = [asked[name].combine_chunks() for name in names]
        answers.append((asked["number"], join_view(view, own, keys, at, mode)))
    chunks = [chunk for number, _ in answers for chunk in number.chunks]
    numbers = pa.chunked_array(chunks, pa.int64())
    assert len(numbers) == len(labels)
    order = pc.sort_indices(numbers)
    places = order.to_numpy()
    return {
        feature: JoinedColumn(
            pa.concat_arrays([joined[feature].values for _, joined in answers]).take(order),
            np.concatenate([joined[feature].status for _, joined in answers])[places],
            np.concatenate([joined[feature].age_us for _, joined in answers])[places],
        )
        for feature in view.features
    }


def _columns(names: Sequence[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _texts(values: Sequence[str]) -> str:
    quoted = ["'" + value.replace("'", "''") + "'" for value in values]
    return "[" + ", ".join(quoted) + "]"
