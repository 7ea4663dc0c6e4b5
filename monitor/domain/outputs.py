"""Silent errors of a model's output: stuck, saturated, or answering only one thing."""

import math
from dataclasses import dataclass

import numpy as np

from monitor.domain.edges import Floats, Ints

SATURATED = 0.999
STUCK_P = 1e-6


@dataclass(frozen=True, slots=True)
class Run:
    """Runs of the same output in serving order; ``a + b`` merges, a before b."""

    rows: int = 0
    head: int = 0
    tail: int = 0
    longest: int = 0
    first: float = math.nan
    last: float = math.nan

    def __add__(self, other: "Run") -> "Run":
        if self.rows == 0 or other.rows == 0:
            return other if self.rows == 0 else self
        joined = self.tail + other.head if self.last == other.first else 0
        whole, others = self.head == self.rows, other.head == other.rows
        return Run(
            rows=self.rows + other.rows,
            head=joined if whole and joined else self.head,
            tail=joined if others and joined else other.tail,
            longest=max(self.longest, other.longest, joined),
            first=self.first,
            last=other.last,
        )


@dataclass(frozen=True, slots=True)
class OutputHealth:
    """``stuck_p`` is the chance of so long a run among independent outputs."""

    rows: int
    longest_run: int
    stuck_p: float
    saturated_share: float
    mode_share: float
    entropy: float
    """Of the predicted classes, in nats."""

    @property
    def stuck(self) -> bool:
        """The output is constant for longer than chance allows."""
        return self.stuck_p < STUCK_P


def run_of(outputs: Floats) -> Run:
    """Runs of ``outputs`` [n] (scores, exactly equal) in the order served."""
    if len(outputs) == 0:
        return Run()
    breaks = np.flatnonzero(outputs[1:] != outputs[:-1]) + 1
    lengths = np.diff(np.concatenate([[0], breaks, [len(outputs)]]))
    return Run(
        rows=len(outputs),
        head=int(lengths[0]),
        tail=int(lengths[-1]),
        longest=int(lengths.max()),
        first=float(outputs[0]),
        last=float(outputs[-1]),
    )


def run_p(longest: int, rows: int, share: float) -> float:
    """Chance of a run of at least ``longest`` among ``rows`` independent outputs of which the
    commonest has this ``share`` in the baseline: 1 − exp(−n (1 − s) s^L) (Erdős, Rényi)."""
    if rows == 0 or longest == 0:
        return 1.0
    kept = min(max(share, 1e-6), 1 - 1e-9)
    expected = rows * (1 - kept) * kept**longest + kept**rows
    return -math.expm1(-expected)


def output_health(
    run: Run, predicted_counts: Ints, saturated: int, baseline_mode_share: float
) -> OutputHealth:
    """``predicted_counts`` [classes]; ``saturated`` counts confidences ≥ 0.999;
    ``baseline_mode_share`` is the share of the commonest exact score in the baseline."""
    rows = run.rows
    total = int(predicted_counts.sum())
    return OutputHealth(
        rows=rows,
        longest_run=run.longest,
        stuck_p=run_p(run.longest, rows, baseline_mode_share),
        saturated_share=saturated / rows if rows else 0.0,
        mode_share=float(predicted_counts.max(initial=0)) / total if total else 0.0,
        entropy=entropy(predicted_counts),
    )


def entropy(counts: Ints) -> float:
    """Entropy of counts in nats, with Miller's correction (k − 1) / 2n, at most ln k."""
    total = float(counts.sum())
    seen = counts[counts > 0]
    if total == 0:
        return 0.0
    share = seen / total
    plug_in = -float((share * np.log(share)).sum())
    return min(plug_in + (len(seen) - 1) / (2 * total), math.log(max(len(counts), 1)))
