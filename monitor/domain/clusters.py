"""Evidence by unit and time block: what a rollout's guards are computed from.

One user's requests are alike, and so are one day's labels. A comparison that counts rows as
independent gives false alarms in more than half of A/A runs, so rows are first summed by unit and
block, and every variance is taken over units or over blocks, never over rows.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from monitor.domain.edges import Floats, Ints

STUB_SHARE = 0.2
"""A block with fewer rows than this share of the step's median is not finished, and waits."""


@dataclass(frozen=True, slots=True)
class Cells:
    """Sums over the rows of one unit in one block, one step, one arm; arrays [cells].

    ``unit`` is any integer that identifies the unit, ``block`` a number of the time block.
    ``total`` is the sum of the metric (of 0/1 for bad outcomes) over ``rows`` rows. Repeated cells
    add up: rows themselves (``rows`` = 1) are valid cells, and so is any merger of them.
    For paired evidence ``total`` is of candidate minus baseline, and ``candidate`` is unused.
    """

    step: Ints
    block: Ints
    unit: Ints
    candidate: npt.NDArray[np.bool_]
    rows: Ints
    total: Floats

    def where(self, mask: npt.NDArray[np.bool_]) -> "Cells":
        """The cells under a mask."""
        return Cells(
            self.step[mask],
            self.block[mask],
            self.unit[mask],
            self.candidate[mask],
            self.rows[mask],
            self.total[mask],
        )


@dataclass(frozen=True, slots=True)
class Means:
    """Moments over units of the unit means: in each group, [groups] arrays."""

    key: Ints
    units: Ints
    rows: Ints
    mean: Floats
    variance: Floats
    """Of the mean, not of one unit; infinite for fewer than two units."""


def unit_means(cells: Cells, group: Ints) -> Means:
    """Mean over units of each unit's own mean, by ``group`` [cells]; groups in sorted order."""
    keys, of_group = np.unique(group, return_inverse=True)
    units_seen, unit = np.unique(cells.unit, return_inverse=True)
    found, of_pair = np.unique(of_group * len(units_seen) + unit, return_inverse=True)
    rows = np.bincount(of_pair, weights=cells.rows)
    own = np.bincount(of_pair, weights=cells.total) / np.maximum(rows, 1)
    at = found // max(len(units_seen), 1)
    units = np.bincount(at, minlength=len(keys))
    mean = np.bincount(at, weights=own, minlength=len(keys)) / np.maximum(units, 1)
    spread = np.bincount(at, weights=np.square(own - mean[at]), minlength=len(keys))
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = np.where(units > 1, spread / (units - 1) / units, np.inf)
    total_rows = np.bincount(at, weights=rows, minlength=len(keys)).astype(np.int64)
    return Means(keys, units, total_rows, mean, variance)


def differences(cells: Cells, group: Ints) -> tuple[Means, Means]:
    """Candidate's and baseline's means, for the groups in which both have at least a unit."""
    arms = [
        unit_means(cells.where(mask), group[mask]) for mask in (cells.candidate, ~cells.candidate)
    ]
    both = np.intersect1d(arms[0].key, arms[1].key)
    kept = [np.searchsorted(arm.key, both) for arm in arms]
    candidate, baseline = (
        Means(arm.key[at], arm.units[at], arm.rows[at], arm.mean[at], arm.variance[at])
        for arm, at in zip(arms, kept, strict=True)
    )
    return candidate, baseline


def step_block(cells: Cells) -> Ints:
    """One group number for each (step, block), shape [cells]."""
    return cells.step * _blocks(cells) + cells.block


def finished(cells: Cells, key: Ints, rows: Ints) -> npt.NDArray[np.bool_]:
    """Which (step, block) groups, of these keys and rows, are no stubs; shape [groups]."""
    step = key // _blocks(cells)
    enough = np.zeros(len(key), dtype=bool)
    for number in np.unique(step):
        mine = step == number
        enough[mine] = rows[mine] >= STUB_SHARE * np.median(rows[mine])
    return enough


def _blocks(cells: Cells) -> int:
    return int(cells.block.max(initial=0)) + 1
