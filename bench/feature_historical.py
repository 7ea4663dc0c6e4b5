"""Historical joins of ten features from Parquet: ours with all its semantics, plain joins, Feast.

Every contestant runs alone in a fresh process and is measured from reading Parquet to the finished
table; its peak memory is the process's. The plain joins know no corrections, ages or statuses.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from bench.feature_peers import data
from bench.feature_peers.definitions import catalogue
from bench.peers.environments import Peer, environment_of
from bench.record import record
from feature_store.facade import FeatureStore

ROOT = Path(__file__).parents[1]
FEAST = Peer("feast", ("feast[redis,duckdb]", "pyarrow", "setuptools<81"), (), "")
SOURCE_ROWS, ENTITIES = 1_000_000, 50_000
REPEATS = 3
TIME_LIMIT_S = 600


def main(*, quick: bool) -> None:
    """10k, 100k and 1M labels; a quick run takes 10k, a tenth of the source, and no Feast."""
    sizes = (10_000,) if quick else (10_000, 100_000, 1_000_000)
    tables: dict[str, list[dict[str, Any]]] = {}
    figures: dict[str, Any] = {}
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            rows = _play(Path(folder), size, quick=quick)
        tables[f"{size:,} labels"] = rows
        best = {row["who"]: row["seconds"] for row in rows}
        figures[f"polars_over_ours_{size}"] = best["plain polars"] / best["Leadline, numpy"]
        if "Feast, DuckDB" in best:
            figures[f"feast_over_ours_{size}"] = best["Feast, DuckDB"] / best["Leadline, numpy"]
        figures[f"peak_mb_{size}"] = rows[0]["peak MB"]
    notes = [
        f"{SOURCE_ROWS:,} source rows, {ENTITIES:,} entities (quick: a tenth); best of {REPEATS}.",
        "Leadline: known mode, statuses for each value. Plain joins: event time only.",
    ]
    record("feature_historical", quick=quick, figures=figures, tables=tables, notes=notes)


def _play(folder: Path, size: int, *, quick: bool) -> list[dict[str, Any]]:
    source_rows = SOURCE_ROWS // 10 if quick else SOURCE_ROWS
    data.write(folder, source_rows, size, ENTITIES)
    FeatureStore(catalogue(), folder / "log").load(
        "facts", pq.read_table(folder / "source.parquet")
    )
    own = [sys.executable, "-m"]
    contestants = {
        "Leadline, numpy": [*own, "bench.feature_peers.historical_ours", str(folder), "numpy"],
        "Leadline, DuckDB": [*own, "bench.feature_peers.historical_ours", str(folder), "duckdb"],
        "plain polars": [*own, "bench.feature_peers.historical_polars", str(folder)],
        "plain DuckDB": [*own, "bench.feature_peers.historical_duckdb", str(folder)],
    }
    if not quick:
        script = ROOT / "bench" / "feature_peers" / "historical_feast.py"
        python = environment_of(FEAST) / "python"
        contestants["Feast, DuckDB"] = [str(python), str(script), str(folder)]
    return [_row(who, command, size) for who, command in contestants.items()]


def _row(who: str, command: list[str], size: int) -> dict[str, Any]:
    runs = [_run(command) for _ in range(REPEATS)]
    best = min(runs, key=lambda run: run["seconds"])
    return {
        "who": who,
        "seconds": best["seconds"],
        "peak MB": round(max(run["peak_mb"] for run in runs)),
        "of it imports": round(best["imports_mb"]),
        "rows lost": size - best["rows"],
        "sum of f0": round(best["sum"], 3),
    }


def _run(command: list[str]) -> dict[str, Any]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=TIME_LIMIT_S,
        check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{command[1:3]} failed: {done.stderr[-800:]}")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found
