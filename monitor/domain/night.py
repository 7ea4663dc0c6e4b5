"""What the nightly run reads from the stored rows themselves: finer than hourly counts allow."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from contracts.profile import NumericProfile
from contracts.served import OUTCOMES
from monitor.domain import edges, ks
from monitor.domain.edges import Floats
from monitor.domain.joint import JointMap, JointSums, count_joint
from monitor.domain.rows import Rows
from monitor.domain.tally import PREDICTION, Layout

ROWS_MAX = 50_000
"""Rows looked at of one version's night; of more, every second, third, ... stands for the rest."""
PARTS_OVER = 20
"""Of nights with more than so many times the rows, parts too are taken evenly."""
_OK = OUTCOMES.index("ok")


class Night:
    """Collects one version's rows of a night, part by part."""

    def __init__(
        self, layout: Layout, joint: JointMap | None, from_us: int, until_us: int, every: int = 1
    ) -> None:
        self._layout = layout
        self._joint = joint
        self._from_us = from_us
        self._until_us = until_us
        self._every = every
        self._seen = 0
        self._values: dict[str, list[Floats]] = {}
        self.sums: JointSums | None = None
        self.rows = 0

    def add(self, parts: Iterable[Rows], variants: Iterable[str]) -> None:
        """The rows of one part that belong to the night."""
        wanted = set(variants)
        for rows in parts:
            inside = (rows.event_us >= self._from_us) & (rows.event_us < self._until_us)
            kept = rows.only(inside & (rows.outcome == _OK))
            if rows.lane.variant not in wanted:
                continue
            place = np.arange(self._seen, self._seen + len(kept))
            self._seen += len(kept)
            kept = kept.only(place % self._every == 0)
            if not len(kept):
                continue
            self.rows += len(kept)
            for name, values in {**kept.numbers, PREDICTION: kept.score}.items():
                self._values.setdefault(name, []).append(values)
            if self._joint is not None:
                sums = count_joint(self._joint, kept.numbers)
                self.sums = sums if self.sums is None else self.sums + sums

    def fine(self) -> dict[str, dict[str, Any]]:
        """Two-sample KS at every edge of the baseline (up to 1024; hourly counts have 256) for each
        numeric column: the distance with the most, and the literal p with the least, that they can
        be exactly. Columns of up to 1024 distinct values have the exact ones: both ends agree."""
        found = {}
        for name, reference in self._layout.references.items():
            profile = reference.profile
            if not isinstance(profile, NumericProfile) or name not in self._values:
                continue
            values = np.concatenate(self._values[name])
            finite = values[np.isfinite(values)]
            if not len(finite):
                continue
            bins = edges.Bins(np.array(profile.edges), np.array(profile.counts))
            cells = edges.count(finite, bins.edges)
            tested = ks.binned_ks(bins.shares(), cells, bins.rows, bins.resolution())
            found[name] = {
                "distance": tested.distance,
                "distance_max": tested.distance_max,
                "p": tested.p,
                "p_least": ks.ks_p(tested.distance_max, bins.rows, len(finite)),
                "rows": len(finite),
            }
        return found


def evenly(names: Sequence[str], rows: int) -> tuple[Sequence[str], int]:
    """Which parts of a night of so many rows to read, and every how manieth row to look at: spread
    over the night, for its first hours are not like the others."""
    skip = max(1, rows // (PARTS_OVER * ROWS_MAX))
    return names[::skip], max(1, -(-rows // (skip * ROWS_MAX)))
