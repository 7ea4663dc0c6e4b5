"""Population stability index and Jensen-Shannon divergence, without their bias.

On identical populations the plug-in values grow with the number of bins and shrink with the rows;
read with a fixed limit they alarm on small windows. The expected value under "no change" is taken
off, so that 0 means no evidence, and small negative values occur.
"""

import numpy as np

from monitor.domain.edges import Floats, Ints

BINS = 10


def coarse(expected_cumulative: Floats, cells: Ints, bins: int = BINS) -> tuple[Floats, Ints]:
    """Shares and live counts of about equal baseline mass, from a binned numeric column.

    Takes cumulative shares [B] and live cells [B + 1]; cells without baseline mass are folded
    into their neighbours.
    """
    inner = expected_cumulative[(expected_cumulative > 1e-9) & (expected_cumulative < 1 - 1e-9)]
    if len(inner) == 0:
        return np.array([1.0]), np.array([cells.sum()])
    wanted = np.unique(np.searchsorted(inner, np.arange(1, bins) / bins - 1e-9))
    limits = np.unique(inner[np.minimum(wanted, len(inner) - 1)])
    cut = np.searchsorted(expected_cumulative, limits, side="right") - 1
    shares = np.diff(np.concatenate([[0.0], expected_cumulative[cut], [1.0]]))
    total = np.concatenate([[0], np.cumsum(cells)])
    return shares, np.diff(total[np.concatenate([[0], cut + 1, [len(cells)]])])


def psi(expected: Floats, live: Ints, baseline_rows: float) -> float:
    """PSI − (B − 1)(1/n + 1/m), in nats. ``expected`` are shares [B], ``live`` counts [B].

    Empty cells count as half a row (the plug-in is infinite there).
    """
    rows = int(live.sum())
    if rows == 0 or baseline_rows <= 0:
        return 0.0
    p = np.maximum(expected, 0.5 / baseline_rows)
    q = np.maximum(live / rows, 0.5 / rows)
    plug_in = float(((q - p) * np.log(q / p)).sum())
    return plug_in - (len(p) - 1) * (1 / baseline_rows + 1 / rows)


def jensen_shannon(expected: Floats, live: Ints, baseline_rows: float) -> float:
    """JS − (B − 1)(1/n + 1/m)/8, in nats (0 to ln 2)."""
    rows = int(live.sum())
    if rows == 0 or baseline_rows <= 0:
        return 0.0
    q = live / rows
    middle = (expected + q) / 2
    plug_in = (_kl(expected, middle) + _kl(q, middle)) / 2
    return plug_in - (len(q) - 1) * (1 / baseline_rows + 1 / rows) / 8


def _kl(p: Floats, q: Floats) -> float:
    kept = p > 0
    return float((p[kept] * np.log(p[kept] / q[kept])).sum())
