"""Two-sample KS over 20 columns of 50,000 + 50,000 rows: ours, scipy, Evidently, alibi-detect.

All on one core, in one run, on the same numbers; the packages in environments of their own.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from bench.detection import packages
from bench.record import record
from monitor.domain import ks
from monitor.domain.baseline import column_profile
from monitor.domain.drift import judge_column
from monitor.domain.edges import Floats
from monitor.domain.reference import reference_of
from monitor.domain.windows import count_column

COLUMNS = 20
Row = dict[str, Any]


def main(*, quick: bool) -> None:
    """Prints one table; a quick run takes a tenth of the rows and asks no other package."""
    rows, repeats = (5_000, 1) if quick else (50_000, 5)
    rng = np.random.default_rng(1)
    reference = rng.normal(size=(rows, COLUMNS))
    live = rng.normal(np.linspace(0, 0.1, COLUMNS), 1.0, size=(rows, COLUMNS))
    truth = [stats.ks_2samp(a, b, method="asymp") for a, b in zip(reference.T, live.T, strict=True)]
    table = _ours(reference, live, truth, repeats)
    if not quick:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "table.npz"
            packages.write_table(path, reference, live)
            table += _theirs(path, [float(found.pvalue) for found in truth])
    slowest = next((row["seconds"] for row in table if row["what"] == "Evidently, KS"), None)
    fastest = next(row["seconds"] for row in table if row["what"].startswith("Leadline, binned"))
    ratio = None if slowest is None else slowest / fastest
    record(
        "ks_speed",
        quick=quick,
        figures={"evidently_over_binned": ratio},
        tables={f"KS over {COLUMNS} columns of {rows:,} + {rows:,} rows": table},
        notes=[
            "Median seconds of the repeats; imports apart, measured in a fresh process.",
            (
                "Binned: counting the live rows at the published edges, and every number of "
                "judge_column; the training rows are not needed. D is never off by more than the "
                "resolution that is stated beside it."
            ),
            "Evidently with KS over binned: "
            + ("not measured." if ratio is None else f"{ratio:.0f} times."),
        ],
    )


def _ours(reference: Floats, live: Floats, truth: list[Any], repeats: int) -> list[Row]:
    columns, others = np.ascontiguousarray(live.T), np.ascontiguousarray(reference.T)
    ordered = np.sort(others, axis=1)
    compiled = [reference_of(column_profile(column)) for column in others]

    def scipy_() -> list[float]:
        return [
            float(stats.ks_2samp(a, b, method="asymp").statistic)
            for a, b in zip(others, columns, strict=True)
        ]

    def exact() -> list[float]:
        return [ks.exact_ks(np.sort(a), b).distance for a, b in zip(others, columns, strict=True)]

    def nightly() -> list[float]:
        return [ks.exact_ks(a, b).distance for a, b in zip(ordered, columns, strict=True)]

    def binned() -> list[float]:
        return [
            judge_column(a, count_column(a, b)).pooled_distance
            for a, b in zip(compiled, columns, strict=True)
        ]

    wanted = [float(found.statistic) for found in truth]
    return [
        _row(name, work, wanted, repeats, module)
        for name, work, module in (
            ("scipy.stats.ks_2samp", scipy_, "scipy.stats"),
            ("Leadline, exact", exact, "monitor.domain.ks"),
            ("Leadline, exact, training rows kept sorted", nightly, "monitor.domain.ks"),
            ("Leadline, binned", binned, "monitor.domain.drift"),
        )
    ]


def _row(
    name: str, work: Callable[[], list[float]], wanted: list[float], repeats: int, module: str
) -> Row:
    found = work()
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    off = max(abs(a - b) for a, b in zip(found, wanted, strict=True))
    return {
        "what": name,
        "seconds": float(np.median(seconds)),
        "import seconds": _import_seconds(module),
        "largest difference from scipy": f"D {off:.2g}",
    }


def _import_seconds(module: str) -> float:
    program = (
        f"import time; t = time.perf_counter(); import {module}; print(time.perf_counter() - t)"
    )
    said = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    return float(said.stdout)


def _theirs(path: Path, wanted: list[float]) -> list[Row]:
    rows: list[Row] = []
    for name, package, mode in (
        ("Evidently, KS", packages.EVIDENTLY, "ks"),
        ("Evidently, its default (Wasserstein)", packages.EVIDENTLY, "default"),
        ("alibi-detect, KS", packages.ALIBI, "ks"),
    ):
        try:
            answer = package.ask(path, mode, 3)
        except subprocess.CalledProcessError as error:
            reason = (error.stderr or str(error)).strip().splitlines()[-1]
            rows.append(_missing(name, reason))
            continue
        pairs = zip(answer["values"][-COLUMNS:], wanted, strict=True)
        off = (
            "another statistic"
            if mode == "default"
            else f"p {max(abs(a - b) for a, b in pairs):.2g}"
        )
        rows.append(
            {
                "what": name,
                "seconds": float(np.median(answer["seconds"])),
                "import seconds": answer["import_s"],
                "largest difference from scipy": off,
            }
        )
    return rows


def _missing(name: str, reason: str) -> Row:
    return {
        "what": name,
        "seconds": float("nan"),
        "import seconds": float("nan"),
        "largest difference from scipy": f"did not run: {reason}",
    }
