"""The data every contestant reads: one source of ten features, and labels to join them to."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

FEATURES = tuple(f"f{i}" for i in range(10))
DAYS = 30
DAY_US = 86_400_000_000
BEGIN_US = 1_735_689_600_000_000
"""2025-01-01T00:00:00Z."""
INSTANT = pa.timestamp("us", tz="UTC")


def source(rows: int, entities: int, seed: int = 1) -> pa.Table:
    """Feature rows in order of event time; created when they happened."""
    rng = np.random.default_rng(seed)
    event = np.sort(rng.integers(BEGIN_US, BEGIN_US + DAYS * DAY_US, rows))
    columns = {
        "user": pa.array(rng.integers(0, entities, rows)),
        "event_time": pa.array(event).cast(INSTANT),
        "created_time": pa.array(event).cast(INSTANT),
    }
    columns |= {name: pa.array(rng.normal(size=rows)) for name in FEATURES}
    return pa.table(columns)


def labels(rows: int, entities: int, seed: int = 2) -> pa.Table:
    """Users and instants, in no order."""
    rng = np.random.default_rng(seed)
    at = rng.integers(BEGIN_US + DAY_US, BEGIN_US + DAYS * DAY_US, rows)
    return pa.table(
        {
            "user": pa.array(rng.integers(0, entities, rows)),
            "event_time": pa.array(at).cast(INSTANT),
        }
    )


def write(folder: Path, source_rows: int, label_rows: int, entities: int) -> None:
    """``source.parquet`` and ``labels.parquet``."""
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(source(source_rows, entities), folder / "source.parquet")
    pq.write_table(labels(label_rows, entities), folder / "labels.parquet")
