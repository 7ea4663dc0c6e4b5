"""Do the columns still move together as they did? Maximum mean discrepancy, streamed.

Each row is mapped to random Fourier features (Rahimi, Recht 2007); the distance between the mean
maps of training and of a live window is the MMD with a Gaussian kernel. Means of sums are all it
needs, so windows add up and no training row is kept. Clean days, each left out once, say how far
apart is normal. The products of normal scores, summed beside, name the pairs that changed.
"""

import dataclasses
import functools
import math
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

from contracts.profile import BaselineProfile, ColumnProfile, JointProfile, NumericProfile
from monitor.domain.days import clean_scores, standardised
from monitor.domain.edges import Bins, Floats, Ints, single, thin
from monitor.domain.multiplicity import q_values, z_of

Singles = npt.NDArray[np.float32]

FEATURES = 256
BINS = 128
"""Edges a column is put on normal scores at."""
COLUMNS_MAX = 100
SPLITS = 28
"""Stand-in days where the training rows carry no time."""
PAIRS_NAMED = 5
_SEED = 20131201


@dataclass(frozen=True, slots=True)
class JointMap:
    """Compiled from a profile: what turns rows into sums. ``frequencies`` [columns, R]."""

    columns: tuple[str, ...]
    edges: tuple[Floats, ...]
    scores: tuple[Floats, ...]
    """Normal score of each bin of each column."""
    frequencies: Singles
    phases: Singles
    profile: JointProfile | None

    def normal_scores(self, rows: Mapping[str, npt.ArrayLike]) -> Floats:
        """Rows [n, columns] on normal scores; a null or missing column is 0."""
        n = max((len(np.asarray(values)) for values in rows.values()), default=0)
        out = np.zeros((n, len(self.columns)))
        for i, name in enumerate(self.columns):
            if name not in rows or np.asarray(rows[name]).dtype.kind not in "biuf":
                continue
            values = single(rows[name])
            at = np.searchsorted(self.edges[i], values, side="left")
            scored = self.scores[i][np.minimum(at, len(self.scores[i]) - 1)]
            out[:, i] = np.where(np.isnan(values), 0.0, scored)
        return out

    def features(self, scores: Floats) -> Singles:
        """Random features [n, R] of normal scores [n, columns], in single precision: cosines are
        what this costs, and they are five times faster so."""
        angles = scores.astype(np.float32) @ self.frequencies + self.phases
        mapped: Singles = np.cos(angles) * np.float32(math.sqrt(2 / self.frequencies.shape[1]))
        return mapped


@dataclass(frozen=True, slots=True)
class JointSums:
    """A live window: rows, Σ features [R], Σ products [columns, columns]; ``a + b`` merges."""

    rows: int
    features: Floats
    products: Floats

    def __add__(self, other: "JointSums") -> "JointSums":
        return JointSums(
            self.rows + other.rows, self.features + other.features, self.products + other.products
        )


@dataclass(frozen=True, slots=True)
class PairShift:
    """Two columns whose correlation (of normal scores) changed."""

    first: str
    second: str
    before: float
    now: float
    q: float


@dataclass(frozen=True, slots=True)
class JointDrift:
    """The window's MMD (biased, squared) with its p-value among clean days; the p-value of the
    most changed correlation (over all pairs), and the pairs that changed. ``z`` is the normal score
    of the smaller of the two among two, in units of the training days' own."""

    rows: int
    mmd2: float
    p: float
    pair_p: float
    z: float
    pairs: tuple[PairShift, ...]
    usual: float = 0.0
    """How high the CUSUM of ``z`` climbed over the training days themselves."""


def build_joint(
    columns: Mapping[str, npt.ArrayLike],
    profiles: Mapping[str, ColumnProfile],
    day: Ints | None,
    *,
    seed: int = _SEED,
) -> JointProfile | None:
    """From training columns [n] and their profiles; None with fewer than two numeric columns."""
    compiled = _compile(profiles, seed, None)
    if compiled is None:
        return None
    scores = compiled.normal_scores({name: columns[name] for name in compiled.columns})
    n = len(scores)
    split = day if day is not None and len(np.unique(day)) >= 7 else np.arange(n) * SPLITS // n
    _, at = np.unique(split, return_inverse=True)
    sizes = np.bincount(at)
    parts = np.split(scores[np.argsort(at, kind="stable")], np.cumsum(sizes)[:-1])
    daily = [_sums(compiled, part) for part in parts if len(part) >= 0.2 * np.median(sizes)]
    if len(daily) < 2 or min(len(part) for part in parts) < 4:
        return None
    whole = functools.reduce(operator.add, daily)
    shape, scale = _clean_law(daily, whole)
    upper = np.triu_indices(len(compiled.columns))
    profile = JointProfile(
        columns=compiled.columns,
        seed=seed,
        rows=whole.rows,
        features=tuple((whole.features / whole.rows).round(7).tolist()),
        products=tuple((whole.products / whole.rows)[upper].round(6).tolist()),
        clean_shape=shape,
        clean_scale=scale,
        rows_per_day=float(sizes.mean()),
        pair_effect=_pair_effect(daily, whole),
    )
    known = dataclasses.replace(compiled, profile=profile)
    judged = [judge_joint(known, part, rows_min=4) for part in daily]
    z = np.array([found.z for found in judged if found is not None])
    return profile.model_copy(update={"clean_scores": clean_scores(z)})


def joint_map(profile: BaselineProfile) -> JointMap | None:
    """What the live side needs; None where the profile has no joint part."""
    if profile.joint is None:
        return None
    kept = {name: profile.columns[name] for name in profile.joint.columns}
    return _compile(kept, profile.joint.seed, profile.joint)


def count_joint(compiled: JointMap, rows: Mapping[str, npt.ArrayLike]) -> JointSums:
    """The sums of some live rows: columns [n] by name."""
    return _sums(compiled, compiled.normal_scores(rows))


def judge_joint(compiled: JointMap, window: JointSums, rows_min: int = 200) -> JointDrift | None:
    """Compares a window with training; None below ``rows_min`` rows."""
    known = compiled.profile
    if known is None or window.rows < rows_min:
        return None
    gap = window.features / window.rows - np.array(known.features)
    mmd2 = float(gap @ gap)
    effective = 1 / (1 / known.rows + 1 / window.rows)
    typical = 1 / (1 / known.rows + 1 / max(known.rows_per_day, 1.0))
    # Clean days jitter whatever their size: a larger day does not count as more than a usual one.
    scaled = mmd2 * min(effective, typical)
    p = float(special.gammaincc(known.clean_shape, scaled / known.clean_scale))
    pair_p, pairs = _pairs(known, window)
    both = standardised(float(z_of(_smallest(min(p, pair_p), 2))), known.clean_scores)
    usual = known.clean_scores.cusum_max
    return JointDrift(window.rows, mmd2, p, pair_p, both, pairs, usual)


def _pairs(known: JointProfile, window: JointSums) -> tuple[float, tuple[PairShift, ...]]:
    """p-value of the most changed correlation among all, and the pairs with q < 0.05."""
    size = len(known.columns)
    before = np.zeros((size, size))
    before[np.triu_indices(size)] = known.products
    first, second = np.triu_indices(size, 1)
    old, new = (
        _correlations(matrix, first, second) for matrix in (before, window.products / window.rows)
    )
    # Beyond a usual day's rows it is the days that vary, not the rows.
    rows = min(window.rows, max(known.rows_per_day, 200.0))
    error = math.sqrt(known.pair_effect * (1 / max(known.rows - 3, 1) + 1 / (rows - 3)))
    z = (np.arctanh(new) - np.arctanh(old)) / error
    p = 2 * special.ndtr(-np.abs(z))
    q = q_values(p)
    order = np.argsort(-np.abs(z))[:PAIRS_NAMED]
    return _smallest(float(p.min()), len(p)), tuple(
        PairShift(
            known.columns[first[i]],
            known.columns[second[i]],
            float(old[i]),
            float(new[i]),
            float(q[i]),
        )
        for i in order
        if q[i] < 0.05
    )


def _smallest(p: float, tests: int) -> float:
    """p-value of the smallest of so many independent p-values (Šidák)."""
    return -math.expm1(tests * math.log1p(-min(p, 1 - 1e-16)))


def _correlations(products: Floats, first: Ints, second: Ints) -> Floats:
    spread = np.sqrt(np.maximum(np.diag(products), 1e-12))
    found: Floats = products[first, second] / spread[first] / spread[second]
    return np.clip(found, -0.999, 0.999)


def _compile(
    profiles: Mapping[str, ColumnProfile], seed: int, joint: JointProfile | None
) -> JointMap | None:
    numeric = {
        name: profile for name, profile in profiles.items() if isinstance(profile, NumericProfile)
    }
    names = tuple(numeric)[:COLUMNS_MAX]
    if len(names) < 2:
        return None
    rng = np.random.Generator(np.random.Philox(seed))
    # Uniform draws through the normal quantile: a stream that numpy keeps across versions.
    uniform = rng.random((len(names), FEATURES))
    # A kernel as wide as the usual distance between two rows (median heuristic: sqrt(2 d)).
    frequencies = special.ndtri(np.clip(uniform, 1e-9, 1 - 1e-9)) / math.sqrt(2 * len(names))
    bins = [thin(Bins(np.array(p.edges), np.array(p.counts)), BINS) for p in numeric.values()]
    return JointMap(
        columns=names,
        edges=tuple(column.edges for column in bins[: len(names)]),
        scores=tuple(_bin_scores(column.counts) for column in bins[: len(names)]),
        frequencies=frequencies.astype(np.float32),
        phases=(rng.random(FEATURES) * 2 * math.pi).astype(np.float32),
        profile=joint,
    )


def _bin_scores(counts: Ints) -> Floats:
    """Normal score of the middle of each bin's probability."""
    total = np.cumsum(counts)
    middle = (total - counts / 2) / total[-1]
    scores: Floats = special.ndtri(np.clip(middle, 0.5 / total[-1], 1 - 0.5 / total[-1]))
    return scores


def _sums(compiled: JointMap, scores: Floats) -> JointSums:
    features = compiled.features(scores).sum(axis=0, dtype=np.float64)
    return JointSums(len(scores), features, scores.T @ scores)


def _clean_law(daily: Sequence[JointSums], whole: JointSums) -> tuple[float, float]:
    """Gamma (shape, scale) by moments of en · MMD² of each day against the others."""
    scaled = []
    for part in daily:
        rest = (whole.features - part.features) / (whole.rows - part.rows)
        gap = part.features / part.rows - rest
        scaled.append(float(gap @ gap) / (1 / part.rows + 1 / (whole.rows - part.rows)))
    mean, variance = float(np.mean(scaled)), float(np.var(scaled, ddof=1))
    variance = max(variance, 1e-4 * mean * mean)
    return mean * mean / variance, variance / mean


def _pair_effect(daily: Sequence[JointSums], whole: JointSums) -> float:
    """From the 99 % quantile of clean days' standardised correlation changes, squared, over the
    normal law's; at least 1."""
    first, second = np.triu_indices(whole.products.shape[0], 1)
    usual = np.arctanh(_correlations(whole.products, first, second))
    changes = []
    for part in daily:
        own = np.arctanh(_correlations(part.products, first, second))
        changes.append(np.abs(own - usual) * math.sqrt(max(part.rows - 3, 1)))
    spread = float(np.quantile(np.concatenate(changes), 0.99)) / 2.5758
    return max(1.0, spread * spread)
