"""How much do clean days differ? Learned from the training days, left out one at a time.

A fixed threshold alarms on every harmless jitter of a large sample. Here each training day is
compared with all the others, exactly as a live day will be; the distances seen are the floor that
a live day must exceed, and their spread is the design effect. Where weekdays differ
systematically, a weekday is compared with its own reference: the pooled one plus an offset that
is shrunk (empirical Bayes) by how much of it is noise.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

FLOOR_MIN = 0.02
DAYS_MIN = 7
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
    residual = _left_out(sums, sizes, weekdays, weight)
    distance = np.abs(residual).max(axis=1)
    pooled = sums.sum(axis=0) / sizes.sum()
    stored: tuple[tuple[float, ...], ...] = ()
    if offsets is not None:
        stored = tuple(
            tuple(np.interp(GRID, [0.0, *pooled, 1.0], [0.0, *row, 0.0]).round(5).tolist())
            for row in offsets
        )
    effect = _design_effect(residual, pooled, sizes, weekdays, weight)
    return _structure(distance, weekdays, sizes, effect, stored)


def categorical_days(day_counts: Ints, weekdays: Ints) -> DayStructure:
    """Structure of a categorical column; distances are total variation. Shapes as above."""
    day_counts, weekdays, sizes = _whole_days(day_counts, weekdays)
    if len(sizes) < DAYS_MIN:
        return DayStructure()
    sums = day_counts.astype(np.float64)
    offsets, weight = _weekday_offsets(sums, sizes, weekdays)
    residual = _left_out(sums, sizes, weekdays, weight)
    distance = np.abs(residual).sum(axis=1) / 2
    pooled = sums.sum(axis=0) / sizes.sum()
    stored = () if offsets is None else tuple(tuple(row.round(6).tolist()) for row in offsets)
    effect = _design_effect(residual, pooled, sizes, weekdays, weight)
    return _structure(distance, weekdays, sizes, effect, stored)


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


def _left_out(sums: Floats, sizes: Ints, weekdays: Ints, weight: float) -> Floats:
    """Each day's shares minus its reference computed without that day, shape [days, bins]."""
    rest = (sums.sum(axis=0) - sums) / np.maximum(sizes.sum() - sizes, 1)[:, None]
    reference = rest
    if weight > 0:
        by_day = np.stack([sums[weekdays == day].sum(axis=0) for day in range(7)])
        by_size = np.array([sizes[weekdays == day].sum() for day in range(7)])
        own_size = np.maximum(by_size[weekdays] - sizes, 1)[:, None]
        own = (by_day[weekdays] - sums) / own_size
        reference = rest + weight * (own - rest)
    residual: Floats = sums / sizes[:, None] - reference
    return residual


def _design_effect(
    residual: Floats, pooled: Floats, sizes: Ints, weekdays: Ints, weight: float
) -> float:
    """Variance of the residuals over what independent rows would show (Kish), at least 1."""
    variance = pooled * (1 - pooled)
    used = variance > 0.01
    if not used.any():
        return 1.0
    rows = float(sizes.sum())
    own = np.array([sizes[weekdays == day].sum() for day in range(7)])[weekdays]
    expected = 1 / sizes + (1 - weight**2) / rows + weight**2 / np.maximum(own - sizes, 1)
    ratio = np.square(residual[:, used]) / variance[used] / expected[:, None]
    return max(1.0, float(ratio.mean()))


def _structure(
    distance: Floats,
    weekdays: Ints,
    sizes: Ints,
    design_effect: float,
    offsets: tuple[tuple[float, ...], ...],
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
    )
