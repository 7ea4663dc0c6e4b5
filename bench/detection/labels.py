"""Labels that flip: the inputs look the same, but mean something else."""

import math
from typing import Any

import numpy as np

from monitor.domain import expectation, scoring
from monitor.domain.edges import Floats
from monitor.domain.scoring import Bools

ROWS_PER_DAY = 500
CLEAN_DAYS, BROKEN_DAYS, WINDOW_DAYS = 90, 28, 28


def table(runs: int) -> list[dict[str, Any]]:
    """Days until concept drift is stated, beside accuracy outside mean ± 3 σ of the reference."""
    rng = np.random.default_rng(7)
    known = _recalibration(rng)
    rows = []
    for flips in (0.0, 0.02, 0.05, 0.1, 0.2):
        days = CLEAN_DAYS if flips == 0 else BROKEN_DAYS
        ours, theirs = zip(*(_watch(rng, known, flips, days) for _ in range(runs)), strict=True)
        row: dict[str, Any] = {"labels flipped": f"{flips:.0%}"}
        for name, found in (("Leadline", ours), ("accuracy ± 3 σ of days", theirs)):
            if flips == 0:
                row[name] = f"{np.isfinite(found).mean():.1%} of runs ever alarm in {days} days"
                continue
            share = np.isfinite(found).mean()
            median = float(np.median(found)) if share >= 0.5 else math.inf
            row[name] = f"{median:g} days (found {share:.0%} in {days})"
        rows.append(row)
    return rows


def _recalibration(rng: np.random.Generator) -> expectation.Recalibration:
    scores, truth = _day(rng, 0.0, 20_000)
    known = expectation.recalibrate(scoring.reliability(scores, truth))
    assert known is not None
    return known


def _watch(
    rng: np.random.Generator, known: expectation.Recalibration, flips: float, days: int
) -> tuple[float, float]:
    """First day with concept drift, and first day outside the reference's ± 3 σ of accuracy."""
    usual = [_accuracy(*_day(rng, 0.0, ROWS_PER_DAY)) for _ in range(28)]
    middle, spread = float(np.mean(usual)), float(np.std(usual))
    gaps: list[float] = []
    ours = theirs = math.inf
    for day in range(1, days + 1):
        scores, truth = _day(rng, flips, ROWS_PER_DAY)
        expected = expectation.expect(known, scores, scores >= 0.5)
        assert expected is not None
        gaps.append(float((scoring.log_losses(scores, truth) - expected.log_loss).mean()))
        recent = np.array(gaps[-WINDOW_DAYS:])
        found = expectation.concept_drift(recent, np.zeros(len(recent)), np.arange(len(recent)))
        assert found is not None
        if found.low is not None and found.low > 0:
            ours = min(ours, day)
        if abs(_accuracy(scores, truth) - middle) > 3 * spread:
            theirs = min(theirs, day)
    return ours, theirs


def _day(rng: np.random.Generator, flips: float, rows: int) -> tuple[Floats, Bools]:
    """Scores of a calibrated model whose days differ a little, and labels, some flipped."""
    scores = rng.beta(2, 5, size=rows)
    weather = rng.normal(0, 0.1)
    odds = scores / (1 - scores) * math.exp(weather)
    truth = rng.random(rows) < odds / (1 + odds)
    return scores, truth ^ (rng.random(rows) < flips)


def _accuracy(scores: Floats, truth: Bools) -> float:
    return float(((scores >= 0.5) == truth).mean())
