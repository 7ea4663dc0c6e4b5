"""From sums by unit and block to the evidence the registry asks for. Never a decision.

A mean has two ways of looking surer than it is: the days of a block are alike, and users come
back. So there are two confidence sequences, over blocks (variance unknown, t-mixture) and over
units (stratified by step, normal mixture), and the wider one counts.
"""

import math
from dataclasses import dataclass

import numpy as np

from contracts.evidence import GuardEvidence, GuardSpec, SampleRatio, ShadowPairs
from monitor.domain import clusters, sequential
from monitor.domain.clusters import Cells
from monitor.domain.edges import Floats

RISK_KINDS = frozenset({"error_rate", "latency"})
UNITS_MIN = 30
"""Units an arm needs in a step before the normal law may be used for their mean."""


def weigh_guard(
    spec: GuardSpec,
    cells: Cells,
    *,
    paired: bool = False,
    coverage: tuple[float | None, float | None] = (None, None),
    values: tuple[float | None, float | None] = (None, None),
) -> GuardEvidence:
    """The evidence of one guard.

    ``cells.total`` counts bad outcomes (errors; answers slower than the SLO) for error_rate and
    latency: of both arms, also where ``paired`` (a shadow's rows are the candidate's). Otherwise
    it sums the metric, or with ``paired`` the difference candidate − baseline of each pair.
    ``coverage`` is the labelled share of the (baseline, candidate) rows; ``values`` overrides the
    two arms' values where cells hold only differences.
    """
    if spec.kind in RISK_KINDS:
        evidence = _weigh_risk(spec, cells)
    elif paired:
        evidence = _weigh_pairs(spec, cells)
    else:
        evidence = _weigh_mean(spec, cells)
    known = {
        key: value
        for key, value in zip(("baseline_value", "candidate_value"), values, strict=True)
        if value is not None
    }
    return evidence.model_copy(
        update={"coverage_baseline": coverage[0], "coverage_candidate": coverage[1], **known}
    )


def weigh_pairs(
    differences: Cells,
    *,
    flips: int = 0,
    labelled: int = 0,
    latency_ratio: float | None = None,
    alpha: float = 0.05,
) -> ShadowPairs:
    """Summary of shadow pairs; ``differences.total`` sums candidate score − baseline score."""
    by_block, by_step, variance = _pair_means(differences)
    found = _wider(by_block, by_step, variance, 0.0, alpha)
    return ShadowPairs(
        pairs=int(differences.rows.sum()),
        mean_difference=found.estimate,
        difference_low=found.low,
        difference_high=found.high,
        decision_flips=flips,
        labelled_pairs=labelled,
        blocks=len(by_block),
        latency_ratio=latency_ratio,
    )


def weigh_ratio(observed: list[tuple[int, ...]], intended: list[tuple[float, ...]]) -> SampleRatio:
    """Sample-ratio mismatch from the distinct units of each arm, by step.

    The shares reported are those that the steps' intentions add up to.
    """
    counts = np.array(observed, dtype=np.float64)
    sizes = counts.sum(axis=1)
    mixed = np.average(np.array(intended), axis=0, weights=np.maximum(sizes, 1e-9))
    return SampleRatio(
        log_e=sequential.ratio_log_e(observed, intended),
        observed=tuple(int(total) for total in counts.sum(axis=0)),
        intended=tuple(float(share) for share in mixed),
    )


def _weigh_risk(spec: GuardSpec, cells: Cells) -> GuardEvidence:
    """Bad outcomes: a unit counts once a step, at its first bad outcome."""
    rows = [int(cells.rows[mask].sum()) for mask in (~cells.candidate, cells.candidate)]
    bad = [float(cells.total[mask].sum()) for mask in (~cells.candidate, cells.candidate)]
    rates = [bad[i] / rows[i] if rows[i] else None for i in (0, 1)]
    exposures, blocks = first_bad(cells)
    ratio, low, high = sequential.risk_interval(exposures, spec.alpha)
    seen = int(exposures.candidate.sum() + exposures.baseline.sum())
    return GuardEvidence(
        name=spec.name,
        n_baseline=rows[0],
        n_candidate=rows[1],
        blocks=blocks,
        baseline_value=rates[0],
        candidate_value=rates[1],
        estimate=ratio - 1.0 if seen else None,
        low=low - 1.0 if seen else None,
        high=high - 1.0 if seen else None,
        log_e=sequential.risk_log_e(exposures, spec.margin) if seen else 0.0,
        note=f"relative risk − 1, on {seen} units with a bad outcome",
    )


def first_bad(cells: Cells) -> tuple[sequential.Exposures, int]:
    """Units with their first bad outcome in each (step, block), and the exposure there.

    Exposure is the candidate's share of the units active in the block. Blocks in which only one
    arm was active tell nothing. Also returns the number of blocks that tell something.
    """
    group = clusters.step_block(cells)
    keys, at = np.unique(group, return_inverse=True)
    units, unit = np.unique(cells.unit, return_inverse=True)
    _, step = np.unique(cells.step, return_inverse=True)
    arm = cells.candidate.astype(np.int64)
    size = max(len(units), 1)
    active = np.unique((at * 2 + arm) * size + unit) // size
    exposure = np.bincount(active, minlength=2 * len(keys)).reshape(-1, 2)
    bad = np.flatnonzero(cells.total > 0)
    ordered = bad[np.argsort(cells.block[bad], kind="stable")]
    _, first = np.unique(((step * 2 + arm) * size + unit)[ordered], return_index=True)
    events = ordered[first]
    found = np.bincount(at[events] * 2 + arm[events], minlength=2 * len(keys)).reshape(-1, 2)
    telling = (exposure > 0).all(axis=1)
    exposure, found = exposure[telling], found[telling]
    share = exposure[:, 1] / exposure.sum(axis=1)
    return sequential.Exposures(share, found[:, 1], found[:, 0]), int(telling.sum())


def _weigh_mean(spec: GuardSpec, cells: Cells) -> GuardEvidence:
    arms = [cells.where(mask) for mask in (~cells.candidate, cells.candidate)]
    overall = [clusters.unit_means(arm, np.zeros_like(arm.step)) for arm in arms]
    values = [float(means.mean[0]) if len(means.mean) else None for means in overall]
    candidate, baseline = clusters.differences(cells, clusters.step_block(cells))
    kept = clusters.finished(cells, candidate.key, np.minimum(candidate.rows, baseline.rows))
    by_block = (candidate.mean - baseline.mean)[kept]
    candidate, baseline = clusters.differences(cells, cells.step)
    enough = np.minimum(candidate.units, baseline.units) >= UNITS_MIN
    by_step = (candidate.mean - baseline.mean)[enough]
    variance = (candidate.variance + baseline.variance)[enough]
    return _evidence_of_mean(spec, arms[0], arms[1], by_block, by_step, variance).model_copy(
        update={"baseline_value": values[0], "candidate_value": values[1]}
    )


def _weigh_pairs(spec: GuardSpec, cells: Cells) -> GuardEvidence:
    by_block, by_step, variance = _pair_means(cells)
    return _evidence_of_mean(spec, cells, cells, by_block, by_step, variance)


def _pair_means(cells: Cells) -> tuple[Floats, Floats, Floats]:
    """Mean differences by block and by step, and the steps' variances."""
    blocks = clusters.unit_means(cells, clusters.step_block(cells))
    steps = clusters.unit_means(cells, cells.step)
    enough = steps.units >= UNITS_MIN
    kept = clusters.finished(cells, blocks.key, blocks.rows)
    return blocks.mean[kept], steps.mean[enough], steps.variance[enough]


def _evidence_of_mean(
    spec: GuardSpec,
    baseline: Cells,
    candidate: Cells,
    by_block: Floats,
    by_step: Floats,
    variance: Floats,
) -> GuardEvidence:
    sign = 1.0 if spec.direction == "higher_is_worse" else -1.0
    worse = _wider(sign * by_block, sign * by_step, variance, spec.margin, spec.alpha)
    ends = [None if end is None else sign * end for end in (worse.low, worse.high)]
    low, high = ends if sign > 0 else ends[::-1]
    return GuardEvidence(
        name=spec.name,
        n_baseline=int(baseline.rows.sum()),
        n_candidate=int(candidate.rows.sum()),
        blocks=len(by_block),
        estimate=None if worse.estimate is None else sign * worse.estimate,
        low=low,
        high=high,
        log_e=worse.log_e,
        note="" if low is not None else "too few units or time blocks for an interval",
    )


@dataclass(frozen=True, slots=True)
class _Worsening:
    estimate: float | None
    low: float | None
    high: float | None
    log_e: float


def _wider(
    by_block: Floats, by_step: Floats, variance: Floats, margin: float, alpha: float
) -> _Worsening:
    """The union of the two sequences, and the smaller e-value; positive is worse.

    The estimate is that of the units; without enough units or blocks there is no interval.
    """
    usable = np.isfinite(variance) & (variance > 0)
    if not usable.any():
        middle = float(by_block.mean()) if len(by_block) else None
        return _Worsening(middle, None, None, 0.0)
    by_step, variance = by_step[usable], variance[usable]
    middle, low, high = sequential.t_interval(by_block, alpha)
    optimal = _optimal_time(margin, variance)
    estimate, unit_low, unit_high = sequential.normal_interval(by_step, variance, optimal, alpha)
    if math.isinf(high):
        return _Worsening(estimate, None, None, 0.0)
    log_e = min(
        sequential.t_log_e(by_block, margin),
        sequential.normal_log_e(by_step, variance, margin, optimal, alpha),
    )
    return _Worsening(estimate, min(low, unit_low), max(high, unit_high), log_e)


def _optimal_time(margin: float, variance: Floats) -> float:
    """Information at which the units' sequence is to be tightest: three standard errors to the
    margin. Without a margin, what the first step has by now."""
    return 9.0 / margin**2 if margin > 0 else float(1 / variance[0])
