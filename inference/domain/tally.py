"""Counts and durations of one version, kept as plain numbers and read at scrape time.

A prometheus-client histogram costs 2 µs an observation; these take a whole batch in as much.
"""

from bisect import bisect_left
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from contracts.served import OUTCOMES

STAGES = ("queue", "features", "compute", "post_processing", "record")
ROWS_BUCKETS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0)


class Histogram:
    """A histogram over fixed upper bounds (the last, infinite one is implied)."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        """Count ``value`` that many times."""
        self.counts[bisect_left(self.bounds, value)] += times
        self.total += value * times

    def observe_all(self, values: Sequence[float]) -> None:
        """Count each value."""
        if len(values) < 8:
            for value in values:
                self.observe(value)
            return
        found = np.bincount(np.searchsorted(self.bounds, values), minlength=len(self.counts))
        self.counts = [one + more for one, more in zip(self.counts, found.tolist(), strict=True)]
        self.total += sum(values)


class Tally:
    """What one version did."""

    def __init__(self, latency_bounds: Sequence[float]) -> None:
        self.requests: dict[str, int] = {}
        """By problem code, or ``ok``."""
        self.rows = [0] * len(OUTCOMES)
        self.duration = Histogram(latency_bounds)
        self.stages = {stage: Histogram(latency_bounds) for stage in STAGES}
        self.batch_rows = Histogram(ROWS_BUCKETS)
        self.cache: dict[str, int] = {"hit": 0, "miss": 0}
        self.degraded: dict[str, int] = {}
        self.shadow: dict[str, int] = {"computed": 0, "dropped": 0}
        self.last_inference_us = 0
        self.raw_parse_ns = 0
        """Reading tensors that calls brought themselves."""
        self.raw_format_ns = 0

    def request(self, outcome: str, count: int = 1) -> None:
        """Count requests that ended so."""
        self.requests[outcome] = self.requests.get(outcome, 0) + count

    def degrade(self, cause: str, rows: int) -> None:
        """Count rows that went without something."""
        self.degraded[cause] = self.degraded.get(cause, 0) + rows

    def outcomes(self, outcome: npt.NDArray[np.uint8]) -> None:
        """Count rows by how they ended."""
        if not np.count_nonzero(outcome):
            self.rows[0] += len(outcome)
            return
        for index, count in enumerate(np.bincount(outcome, minlength=len(OUTCOMES)).tolist()):
            self.rows[index] += count
