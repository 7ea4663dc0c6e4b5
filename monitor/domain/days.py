"""How much do clean days differ? Learned from the training days, left out one at a time.

A fixed threshold alarms on every harmless jitter of a large sample. Here each training day is
compared with all days that are not close to it (a spell of weather is left out whole), exactly as a
live day will be; the distances seen are the floor that a live day must exceed, their spread is the
design effect, and their scores tell what a live score is worth. Where weekdays differ
systematically, a weekday is compared with its own reference: the pooled one plus an offset that
is shrunk (empirical Bayes) by how much of it is noise.
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy import special

from contracts.profile import CleanScores
from monitor.domain import cusum
from monitor.domain.categories import two_sample
from monitor.domain.multiplicity import z_of

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

FLOOR_MIN = 0.02
DAYS_MIN = 7
APART_DAYS = 3
"""Days this close to a day are left out with it, where there are weeks enough."""
SEASON_EFFECT = 7.0
"""A seasonal reference rests mostly on the weekday's own rows."""
GRID = np.linspace(0.0, 1.0, 33)
"""Pooled shares at which a numeric column's weekday offsets are stored."""

_DAY_US = 86_400_000_000


@dataclass(frozen=True, slots=True)
class DayStructure:
    """What the days of a column teach."""

    floor: float = FLOOR_MIN
    floor_by_weekday: tuple[float, ...] = ()
    design_effect: float = 1.0
    rows_per_day: float = 0.0
    weekday_offsets: tuple[tuple[float, ...], ...] = ()
    scores: CleanScores = field(default_factory=CleanScores)


@dataclass(frozen=True, slots=True)
class _Compared:
    """Each day against its reference: shares minus the reference's [days, bins], the reference's
    rows [days], the design effect, and the weight of the weekday's own reference."""

    residual: Floats
    reference: Floats
    rows: Floats
    effect: float
    weight: float

    def effective(self, sizes: Ints) -> Floats:
        """Effective rows of each day's comparison, as a live day's are computed."""
        correlation = (self.effect - 1) / max(float(sizes.mean()) - 1, 1.0)
        live = 1 + (sizes - 1) * correlation
        base = self.effect * (SEASON_EFFECT if self.weight > 0 else 1.0)
        found: Floats = 1 / (base / np.maximum(self.rows, 1) + live / sizes)
        return found


def day_number(event_us: Ints) -> Ints:
    """Days since 1970-01-01 UTC."""
    return np.floor_divide(event_us, _DAY_US)


def weekday(day: Ints) -> Ints:
    """0 = Monday, of a day number."""
    return (day + 3) % 7


def numeric_days(day_counts: Ints, weekdays: Ints) -> DayStructure:
    """Structure of a numeric column. ``day_counts`` [days, bins], ``weekdays`` [days] in 0..6."""
    day_counts, weekdays, sizes = _whole_days(day_counts, weekdays)
    if len(sizes) < DAYS_MIN:
        return DayStructure()
    sums = np.cumsum(day_counts, axis=1)[:, :-1].astype(np.float64)
    offsets, weight = _weekday_offsets(sums, sizes, weekdays)
    compared = _compare(sums, sizes, weekdays, weight)
    distance = np.abs(compared.residual).max(axis=1)
    pooled = sums.sum(axis=0) / sizes.sum()
    stored: tuple[tuple[float, ...], ...] = ()
    if offsets is not None:
        stored = tuple(
            tuple(np.interp(GRID, [0.0, *pooled, 1.0], [0.0, *row, 0.0]).round(5).tolist())
            for row in offsets
        )
    p = special.kolmogorov(np.sqrt(compared.effective(sizes)) * distance)
    return _structure(distance, weekdays, sizes, compared.effect, stored, z_of(p))


def categorical_days(day_counts: Ints, weekdays: Ints) -> DayStructure:
    """Structure of a categorical column; distances are total variation. Shapes as above."""
    day_counts, weekdays, sizes = _whole_days(day_counts, weekdays)
    if len(sizes) < DAYS_MIN:
        return DayStructure()
    sums = day_counts.astype(np.float64)
    offsets, weight = _weekday_offsets(sums, sizes, weekdays)
    compared = _compare(sums, sizes, weekdays, weight)
    distance = np.abs(compared.residual).sum(axis=1) / 2
    stored = () if offsets is None else tuple(tuple(row.round(6).tolist()) for row in offsets)
    effective = compared.effective(sizes)
    independent = 1 / (1 / np.maximum(compared.rows, 1) + 1 / sizes)
    p = [
        two_sample(np.clip(reference, 0, None) * rows, day, deflate=float(deflate)).p
        for reference, rows, day, deflate in zip(
            compared.reference, compared.rows, sums, independent / effective, strict=True
        )
    ]
    return _structure(distance, weekdays, sizes, compared.effect, stored, z_of(p))


def standardised(score: float, clean: CleanScores) -> float:
    """A live day's score in units of the training days' own: never larger than it was."""
    return (score - max(0.0, clean.mean)) / max(1.0, clean.upper_std)


def _whole_days(day_counts: Ints, weekdays: Ints) -> tuple[Ints, Ints, Ints]:
    """Without the stubs: a day with few rows lies far off by chance and would set the floor."""
    sizes = day_counts.sum(axis=1)
    used = sizes >= max(1.0, 0.2 * float(np.median(sizes)))
    return day_counts[used], weekdays[used], sizes[used]


def _weekday_offsets(sums: Floats, sizes: Ints, weekdays: Ints) -> tuple[Floats | None, float]:
    """Shrunk offsets [7, bins] and the weight given to the weekday's own data (0: no season)."""
    if np.bincount(weekdays, minlength=7).min() < 2:
        return None, 0.0
    shares = sums / sizes[:, None]
    pooled = sums.sum(axis=0) / sizes.sum()
    offsets = np.empty((7, shares.shape[1]))
    noise = 0.0
    for day in range(7):
        mine = shares[weekdays == day]
        offsets[day] = sums[weekdays == day].sum(axis=0) / sizes[weekdays == day].sum() - pooled
        noise += float(mine.var(axis=0, ddof=1).mean()) / len(mine) / 7
    observed = float(np.square(offsets).mean())
    weight = 0.0 if observed <= 0 else max(0.0, 1.0 - noise / observed)
    if weight < 0.2:
        return None, 0.0
    return offsets * weight, weight


def _compare(sums: Floats, sizes: Ints, weekdays: Ints, weight: float) -> _Compared:
    """Each day's shares against a reference without it and the days close by."""
    reach = APART_DAYS if len(sizes) >= 3 * (2 * APART_DAYS + 1) else 0
    rest_sums = sums.sum(axis=0) - _around(sums, reach)
    rest_rows = sizes.sum() - _around(sizes[:, None].astype(np.float64), reach)[:, 0]
    reference = rest_sums / np.maximum(rest_rows, 1)[:, None]
    pooled = sums.sum(axis=0) / sizes.sum()
    expected = 1 / sizes + (1 - weight**2) / np.maximum(rest_rows, 1)
    if weight > 0:
        by_day = np.stack([sums[weekdays == day].sum(axis=0) for day in range(7)])
        by_size = np.array([sizes[weekdays == day].sum() for day in range(7)])
        own_rows = np.maximum(by_size[weekdays] - sizes, 1)
        own = (by_day[weekdays] - sums) / own_rows[:, None]
        reference = reference + weight * (own - reference)
        expected = expected + weight**2 / own_rows
    residual: Floats = sums / sizes[:, None] - reference
    effect = _design_effect(residual, pooled, expected)
    return _Compared(residual, reference, rest_rows, effect, weight)


def _around(values: Floats, reach: int) -> Floats:
    """Sums over the days within ``reach`` of each day, itself included; shape as given."""
    total = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, axis=0)])
    at = np.arange(len(values))
    upper = np.minimum(at + reach + 1, len(values))
    near: Floats = total[upper] - total[np.maximum(at - reach, 0)]
    return near


def _design_effect(residual: Floats, pooled: Floats, expected: Floats) -> float:
    """Variance of the residuals over what independent rows would show (Kish), at least 1."""
    variance = pooled * (1 - pooled)
    used = variance > 0.01
    if not used.any():
        return 1.0
    ratio = np.square(residual[:, used]) / variance[used] / expected[:, None]
    return max(1.0, float(ratio.mean()))


def clean_scores(scores: Floats) -> CleanScores:
    """Mean, spread of the upper half, and highest CUSUM of the training days' scores [days] in
    order. Only the upper half counts: that some days lie closer than chance raises no alarm."""
    mean = float(scores.mean())
    upper = np.maximum(scores - max(0.0, mean), 0.0)
    found = CleanScores(mean=mean, upper_std=float(np.sqrt(2 * np.square(upper).mean())))
    total, highest = 0.0, 0.0
    for score in scores:
        total = cusum.step(total, standardised(float(score), found))
        highest = max(highest, total)
    return found.model_copy(update={"cusum_max": highest})


def _structure(
    distance: Floats,
    weekdays: Ints,
    sizes: Ints,
    design_effect: float,
    offsets: tuple[tuple[float, ...], ...],
    scores: Floats,
) -> DayStructure:
    by_weekday: tuple[float, ...] = ()
    if np.bincount(weekdays, minlength=7).min() >= 4:
        by_weekday = tuple(
            max(FLOOR_MIN, float(np.quantile(distance[weekdays == day], 0.99))) for day in range(7)
        )
    return DayStructure(
        floor=max(FLOOR_MIN, float(np.quantile(distance, 0.99))),
        floor_by_weekday=by_weekday,
        design_effect=design_effect,
        rows_per_day=float(sizes.mean()),
        weekday_offsets=offsets,
        scores=clean_scores(scores),
    )
