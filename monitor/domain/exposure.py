"""Who saw which version, and how it went: the rows behind a rollout's evidence."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from contracts.evidence import (
    ArmCount,
    Breakers,
    Evidence,
    EvidenceQuery,
    GuardEvidence,
    GuardSpec,
    SampleRatio,
    ShadowPairs,
)
from contracts.served import FIRST_ERROR_OUTCOME, OUTCOMES
from monitor.domain import scoring
from monitor.domain.clusters import Cells
from monitor.domain.edges import Floats, Ints
from monitor.domain.rollout_evidence import RISK_KINDS, weigh_guard, weigh_pairs, weigh_ratio

Bools = npt.NDArray[np.bool_]
_NAN_ANSWER = OUTCOMES.index("nan_answer")
_BREAKER_US = 300_000_000
_FIELDS = (
    "key", "unit", "step", "at_us", "candidate", "outcome", "latency_us", "score", "predicted",
    "label", "business",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Exposed:
    """n served rows of a rollout's two versions; arrays [n].

    ``key`` and ``unit`` are integers that tell predictions and units apart; ``business`` is the
    value of the metric asked for (0 where nothing happened); ``label`` is NaN while none came.
    """

    key: Ints
    unit: Ints
    step: Ints
    at_us: Ints
    candidate: Bools
    outcome: Ints
    latency_us: Ints
    score: Floats
    predicted: Ints
    label: Floats
    business: Floats

    def __len__(self) -> int:
        return len(self.key)

    def only(self, kept: Bools | Ints) -> "Exposed":
        """Some of the rows, by mask or by index."""
        return Exposed(*(getattr(self, name)[kept] for name in _FIELDS))


@dataclass(frozen=True, slots=True)
class Weighed:
    """What ``weigh`` needs to know beside the rows."""

    as_of_us: int
    lag_s: float
    gaps: int
    segments: dict[str, Exposed]
    truncated: bool = False


def weigh(query: EvidenceQuery, rows: Exposed, known: Weighed) -> Evidence:
    """The evidence of a rollout from its served rows."""
    rows = rows.only(_within(query, rows))
    pairs = _pairs(rows) if query.paired else None
    guards = tuple(_guard(spec, query, rows, pairs) for spec in query.guards)
    if known.truncated:
        guards = tuple(
            guard.model_copy(update={"note": f"{guard.note}; only the latest rows".strip("; ")})
            for guard in guards
        )
    return Evidence(
        model=query.model,
        rollout_id=query.rollout_id,
        as_of_us=known.as_of_us,
        lag_s=known.lag_s,
        gaps=known.gaps,
        arms=_arms(query, rows),
        sample_ratio=None if query.paired else _ratio(query, rows),
        multiple_exposure_share=0.0 if query.paired else _multiple(rows),
        guards=guards,
        pairs=None if pairs is None else _shadow(query, pairs),
        breakers=_breakers(rows, known.as_of_us),
        segments={
            name: _shadow(query, _pairs(part.only(_within(query, part))))
            for name, part in known.segments.items()
            if query.paired and len(part)
        },
    )


def _within(query: EvidenceQuery, rows: Exposed) -> Bools:
    """Rows of a step that is asked about, served within its time."""
    kept = np.zeros(len(rows), dtype=bool)
    for window in query.steps:
        until = window.until_us if window.until_us is not None else 2**62
        kept |= (rows.step == window.step) & (rows.at_us >= window.from_us) & (rows.at_us < until)
    return kept


def _pairs(rows: Exposed) -> tuple[Exposed, Exposed]:
    """(baseline, candidate) answers to the same question, row by row, both without error."""
    usable = rows.only(np.isfinite(rows.score))
    arms = []
    for arm in (False, True):
        part = usable.only(usable.candidate == arm)
        _, first = np.unique(part.key, return_index=True)
        arms.append(part.only(first))
    shared = np.intersect1d(arms[0].key, arms[1].key)
    return (
        arms[0].only(np.isin(arms[0].key, shared)),
        arms[1].only(np.isin(arms[1].key, shared)),
    )


def _guard(
    spec: GuardSpec, query: EvidenceQuery, rows: Exposed, pairs: tuple[Exposed, Exposed] | None
) -> GuardEvidence:
    if spec.kind in RISK_KINDS:
        bad = rows.outcome >= FIRST_ERROR_OUTCOME
        if spec.kind == "latency":
            bad = rows.latency_us > (spec.slo_ms or 0.0) * 1000
        return weigh_guard(spec, _cells(query, rows, bad.astype(np.float64)), paired=query.paired)
    coverage = coverage_of(query, rows) if spec.kind in _LABELLED else (None, None)
    if pairs is not None and spec.kind != "business":
        baseline, candidate = (_metric(spec, arm) for arm in pairs)
        known = np.isfinite(baseline) & np.isfinite(candidate)
        cells = _cells(query, pairs[1].only(known), (candidate - baseline)[known])
        values = (_mean(baseline[known]), _mean(candidate[known]))
        return weigh_guard(spec, cells, paired=True, coverage=coverage, values=values)
    if query.paired:
        # A shadow's answer reaches nobody, so nothing in the business can follow from it.
        return GuardEvidence(
            name=spec.name, n_baseline=0, n_candidate=0, blocks=0, note="not measurable in shadow"
        )
    metric = _metric(spec, rows)
    known = np.isfinite(metric)
    return weigh_guard(spec, _cells(query, rows.only(known), metric[known]), coverage=coverage)


_LABELLED = ("log_loss", "brier", "accuracy", "mae")


def _metric(spec: GuardSpec, rows: Exposed) -> Floats:
    """The guard's value of each row; NaN where there is none (yet)."""
    truth = rows.label > 0.5
    known = np.where(np.isfinite(rows.label) & np.isfinite(rows.score), 0.0, np.nan)
    if spec.kind == "score_shift":
        return rows.score
    if spec.kind == "log_loss":
        return scoring.log_losses(np.nan_to_num(rows.score), truth) + known
    if spec.kind == "brier":
        return np.square(rows.score - truth) + known
    if spec.kind == "accuracy":
        right: Floats = (rows.predicted == rows.label).astype(np.float64) + known
        return right
    if spec.kind == "mae":
        return np.abs(rows.score - rows.label)
    return rows.business


def _cells(query: EvidenceQuery, rows: Exposed, total: Floats) -> Cells:
    return Cells(
        step=rows.step,
        block=rows.at_us // (query.block_s * 1_000_000),
        unit=rows.unit,
        candidate=rows.candidate,
        rows=np.ones(len(rows), np.int64),
        total=total,
    )


def coverage_of(query: EvidenceQuery, rows: Exposed) -> tuple[float | None, float | None]:
    """Labelled share of the (baseline, candidate) rows, over blocks in which both arms served.

    Each block counts alike in both arms: labels come late, and a candidate whose share grows has
    younger rows, which is no loss of labels.
    """
    block = rows.at_us // (query.block_s * 1_000_000)
    _, at = np.unique(np.stack([rows.step, block]), axis=1, return_inverse=True)
    groups = int(at.max(initial=-1)) + 1
    labelled = np.isfinite(rows.label).astype(np.float64)
    masks = (~rows.candidate, rows.candidate)
    counts = [np.bincount(at[mask], minlength=groups) for mask in masks]
    found = [np.bincount(at[mask], labelled[mask], groups) for mask in masks]
    weight = np.minimum(*counts)
    if not weight.sum():
        return None, None
    baseline, candidate = (
        float(np.average(known / np.maximum(count, 1), weights=weight))
        for known, count in zip(found, counts, strict=True)
    )
    return baseline, candidate


def _arms(query: EvidenceQuery, rows: Exposed) -> tuple[ArmCount, ...]:
    weight = query.steps[-1].weight
    shares = (1.0, 1.0) if query.paired else (1 - weight, weight)
    counts = []
    for arm, version in enumerate((query.baseline_version, query.candidate_version)):
        part = rows.only(rows.candidate == bool(arm))
        counts.append(
            ArmCount(
                version=version,
                requests=len(part),
                units=len(np.unique(part.unit)),
                errors=int((part.outcome >= FIRST_ERROR_OUTCOME).sum()),
                intended_share=shares[arm],
            )
        )
    return tuple(counts)


def _ratio(query: EvidenceQuery, rows: Exposed) -> SampleRatio | None:
    """Distinct units by arm and step, where both arms were meant to have some."""
    observed: list[tuple[int, ...]] = []
    intended: list[tuple[float, ...]] = []
    for window in query.steps:
        if not 0 < window.weight < 1:
            continue
        part = rows.only(rows.step == window.step)
        units = tuple(len(np.unique(part.unit[part.candidate == arm])) for arm in (False, True))
        if sum(units):
            observed.append(units)
            intended.append((1 - window.weight, window.weight))
    return weigh_ratio(observed, intended) if observed else None


def _multiple(rows: Exposed) -> float:
    """Share of the units that saw both versions within one step."""
    seen = np.unique(np.stack([rows.step, rows.unit, rows.candidate.astype(np.int64)]), axis=1)
    if seen.shape[1] == 0:
        return 0.0
    both = np.unique(seen[:2], axis=1, return_counts=True)[1]
    return float((both > 1).mean())


def _shadow(query: EvidenceQuery, pairs: tuple[Exposed, Exposed]) -> ShadowPairs:
    baseline, candidate = pairs
    flips = int((baseline.predicted != candidate.predicted).sum())
    ratio = None
    if len(candidate) and baseline.latency_us.sum():
        ratio = float(np.median(candidate.latency_us) / max(np.median(baseline.latency_us), 1.0))
    return weigh_pairs(
        _cells(query, candidate, candidate.score - baseline.score),
        flips=flips,
        labelled=int(np.isfinite(candidate.label).sum()),
        latency_ratio=ratio,
    )


def _breakers(rows: Exposed, as_of_us: int) -> Breakers:
    recent = rows.only(rows.candidate & (rows.at_us > as_of_us - _BREAKER_US))
    return Breakers(
        candidate_requests=len(recent),
        candidate_errors=int((recent.outcome >= FIRST_ERROR_OUTCOME).sum()),
        nan_answers=int((recent.outcome == _NAN_ANSWER).sum()),
    )


def _mean(values: Floats) -> float | None:
    return float(values.mean()) if len(values) else None


SEGMENTS_MAX = 32


def by_segment(rows: Exposed, segments: Sequence[str]) -> dict[str, Exposed]:
    """The rows of each segment. ``segments`` [n] are names between bars (``|a=1|b=2|``); a
    prediction belongs where either version's row says so, for they are of the same question."""
    keys: dict[str, set[int]] = {}
    for key, joined in zip(rows.key.tolist(), segments, strict=True):
        for name in joined.strip("|").split("|"):
            if name and (name in keys or len(keys) < SEGMENTS_MAX):
                keys.setdefault(name, set()).add(key)
    return {
        name: rows.only(np.isin(rows.key, list(of_segment)))
        for name, of_segment in sorted(keys.items())
    }


def codes(values: Sequence[object]) -> Ints:
    """An integer for each distinct value, in order of appearance."""
    known: dict[object, int] = {}
    return np.array([known.setdefault(value, len(known)) for value in values], dtype=np.int64)
