"""Rows of a person's files (Parquet, CSV, JSON lines) as Arrow, with instants that have a zone."""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import click


def read_rows(file: Path, text: Collection[str] = ()) -> Any:
    """The rows of a file as an Arrow table; a CSV's times need an offset. The columns ``text`` of a
    CSV are taken as they are written, whatever they look like: 007 is not 7.
    """
    import pyarrow as pa  # heavy; the command line starts without it
    import pyarrow.csv
    import pyarrow.parquet

    kind = file.suffix.lower()
    try:
        if kind == ".parquet":
            return pa.parquet.read_table(file)
        if kind == ".csv":
            written = pa.csv.ConvertOptions(column_types=dict.fromkeys(text, pa.string()))
            return _with_ids(_with_instants(pa.csv.read_csv(file, convert_options=written)))
        if kind in (".json", ".jsonl", ".ndjson"):
            # Arrow's own reader takes times for instants of no zone, whatever their offset
            rows = [json.loads(line) for line in file.read_text().splitlines() if line.strip()]
            return _with_instants(pa.Table.from_pylist(rows))
    except (ValueError, AttributeError) as error:  # of Arrow too
        raise click.ClickException(f"{file} cannot be read: {error}") from error
    raise click.UsageError("FILE must be .parquet, .csv, .json or .jsonl (one object a line)")


def _with_instants(table: Any) -> Any:
    """Text columns of times as instants; a time without an offset is refused."""
    from datetime import datetime

    import pyarrow as pa

    for name in ("event_time", "created_time"):
        if name not in table.column_names:
            continue
        column = table[name]
        if pa.types.is_timestamp(column.type):
            continue  # the service refuses it when it has no zone
        texts = column.to_pylist()
        try:
            times = [None if text is None else datetime.fromisoformat(text) for text in texts]
        except (TypeError, ValueError) as error:
            raise click.ClickException(f"{name} holds what is no ISO 8601 instant") from error
        if any(one is not None and one.tzinfo is None for one in times):
            raise click.ClickException(f"{name} has no zone; write 2013-12-01T00:00:00Z")
        instants = pa.array(times, pa.timestamp("us", "UTC"))
        table = table.set_column(table.column_names.index(name), name, instants)
    return table


def _with_ids(table: Any) -> Any:
    """An empty cell is no event id: not one that all such rows share, as if one were sent again."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if "event_id" not in table.column_names:
        return table
    given = table["event_id"].cast(pa.string())
    none = pa.nulls(len(table), pa.string())
    at = table.column_names.index("event_id")
    return table.set_column(at, "event_id", pc.if_else(pc.equal(given, ""), none, given))


def arrow_bytes(table: Any) -> bytes:
    """The table as an Arrow IPC stream."""
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    data: bytes = sink.getvalue().to_pybytes()
    return data
