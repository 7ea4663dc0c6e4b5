"""Are the re-implemented rules of other tools the tools' own? Asks the packages themselves.

The same columns and days as in ``detection_quality``, scored by the installed packages and by
``bench/detection/rules.py``.
"""

import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from bench.detection import packages, rules
from bench.detection.worlds import MAIN, ROWS_PER_DAY, image
from bench.record import record
from monitor.domain.baseline import column_profile
from monitor.domain.edges import Floats, count
from monitor.domain.reference import NumericReference, reference_of
from monitor.domain.windows import count_column

COLUMNS = (0, 1, 2, 4)
DAYS = 28
SHIFTS = (0.0, 0.1, 0.3)
Row = dict[str, Any]


def main(*, quick: bool) -> None:
    """One table; a quick run prints our side only."""
    reference, live = _tables()
    ours = [_ours(reference[:, i], live[:, i]) for i in range(len(COLUMNS))]
    evidently: list[float] | None = None
    nannyml: list[list[float]] | None = None
    reason = "a quick run asks no package"
    if not quick:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "table.npz"
            packages.write_table(path, reference, live)
            try:
                evidently = packages.EVIDENTLY.ask(path, "default", 1)["values"][-len(COLUMNS) :]
                nannyml = packages.NANNYML.ask(path, str(ROWS_PER_DAY), 1)["values"]
            except subprocess.CalledProcessError as error:
                reason = (error.stderr or str(error)).strip().splitlines()[-1]
    table: list[Row] = []
    for i, column in enumerate(COLUMNS):
        days, whole = ours[i]
        for day, (shift, distance) in enumerate(zip(SHIFTS, days, strict=True)):
            theirs = "" if nannyml is None else f"{nannyml[i][day]:.4f}"
            table.append(_row("NannyML, Jensen-Shannon", column, f"{shift} σ", distance, theirs))
        theirs = "" if evidently is None else f"{evidently[i]:.4f}"
        table.append(
            _row("Evidently, Wasserstein normed", column, "all days together", whole, theirs)
        )
    record(
        "detection_peers",
        quick=quick,
        figures={},
        tables={"Scores of the packages and of their re-implementations": table},
        notes=[] if nannyml is not None else [f"The packages were not asked: {reason}."],
    )


def _row(rule: str, column: int, shift: str, ours: float, theirs: str) -> Row:
    return {
        "rule": rule,
        "column": f"f{column}",
        "shift": shift,
        "re-implementation": f"{ours:.4f}",
        "package": theirs,
    }


def _tables() -> tuple[Floats, Floats]:
    rng = np.random.default_rng(3)
    reference = np.concatenate(
        [MAIN.latent(day, ROWS_PER_DAY, max(COLUMNS) + 1, rng) for day in range(DAYS)]
    )
    live = np.concatenate(
        [MAIN.latent(0, ROWS_PER_DAY, max(COLUMNS) + 1, rng) + shift for shift in SHIFTS]
    )
    sides = [
        np.column_stack([image(i, latent[:, i]).astype(np.float64) for i in COLUMNS])
        for latent in (reference, live)
    ]
    return sides[0], sides[1]


def _ours(reference: Floats, live: Floats) -> tuple[list[float], float]:
    """NannyML's distance day by day, and Evidently's over all live rows."""
    histogram = rules.histogram_of(reference)
    days = [
        rules.jensen_shannon(histogram.shares, count(day, histogram.edges))
        for day in np.split(live, len(SHIFTS))
    ]
    compiled = reference_of(column_profile(reference))
    assert isinstance(compiled, NumericReference)
    return days, rules.wasserstein_normed(compiled, count_column(compiled, live))
