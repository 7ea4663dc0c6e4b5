"""A column's baseline, compiled once for live use: edges or categories, shares, days, floors."""

from dataclasses import dataclass

import numpy as np

from contracts.profile import CategoricalProfile, ColumnProfile, NumericProfile
from monitor.domain import days, edges
from monitor.domain.edges import Floats, Ints


@dataclass(frozen=True, slots=True)
class Days:
    """What the training days taught about one column."""

    floor: float
    floor_by_weekday: tuple[float, ...]
    correlation: float
    """Correlation of the rows of one day (0: independent)."""
    baseline_effect: float
    offsets: Floats | None
    """Seven rows of weekday shares minus pooled shares, at the column's own cells."""

    def live_effect(self, rows: float) -> float:
        """Kish's design effect of a live window of so many rows of one day."""
        return 1.0 + max(rows - 1.0, 0.0) * self.correlation

    def floor_on(self, weekday_rows: Ints | None) -> float:
        """The floor of a window with so many rows on each weekday (None: unknown)."""
        if weekday_rows is None or not self.floor_by_weekday or not weekday_rows.any():
            return self.floor
        return float(np.average(self.floor_by_weekday, weights=weekday_rows))

    def shift(self, weekday_rows: Ints | None) -> Floats | float:
        """What the season adds to the pooled shares of such a window."""
        if self.offsets is None or weekday_rows is None or not weekday_rows.any():
            return 0.0
        shifted: Floats = weekday_rows @ self.offsets / weekday_rows.sum()
        return shifted


@dataclass(frozen=True, slots=True)
class NumericReference:
    """Live edges [B], cumulative baseline shares at them [B], moments, days."""

    profile: NumericProfile
    bins: edges.Bins
    shares: Floats
    resolution: float
    days: Days

    def expected(self, weekday_rows: Ints | None) -> Floats:
        """Cumulative shares a clean window would have, given its rows by weekday [7]."""
        moved = self.shares + self.days.shift(weekday_rows)
        kept: Floats = np.maximum.accumulate(np.clip(moved, 0.0, 1.0))
        return kept


@dataclass(frozen=True, slots=True)
class CategoricalReference:
    """Category positions; the cell after the last one is "other" (seen rarely, or never)."""

    profile: CategoricalProfile
    index: dict[str, int]
    counts: Ints
    shares: Floats
    days: Days

    def expected(self, weekday_rows: Ints | None) -> Floats:
        """Shares [C + 1] a clean window would have, given its rows by weekday [7]."""
        moved = np.clip(self.shares + self.days.shift(weekday_rows), 0.0, None)
        normed: Floats = moved / max(float(moved.sum()), 1e-12)
        return normed


Reference = NumericReference | CategoricalReference


def reference_of(profile: ColumnProfile) -> Reference:
    """Compiles a column's profile."""
    if isinstance(profile, NumericProfile):
        return _numeric(profile)
    return _categorical(profile)


def _numeric(profile: NumericProfile) -> NumericReference:
    bins = edges.thin(edges.Bins(np.array(profile.edges), np.array(profile.counts)))
    shares = bins.shares()
    offsets = None
    if profile.weekday_offsets:
        offsets = np.stack([np.interp(shares, days.GRID, row) for row in profile.weekday_offsets])
    return NumericReference(
        profile=profile,
        bins=bins,
        shares=shares,
        resolution=bins.resolution(),
        days=_days(profile, profile.floor_d_by_weekday, offsets),
    )


def _categorical(profile: CategoricalProfile) -> CategoricalReference:
    counts = np.array([*profile.categories.values(), profile.other], dtype=np.int64)
    offsets = np.array(profile.weekday_offsets) if profile.weekday_offsets else None
    return CategoricalReference(
        profile=profile,
        index={name: at for at, name in enumerate(profile.categories)},
        counts=counts,
        shares=counts / max(int(counts.sum()), 1),
        days=_days(profile, (), offsets),
    )


def _days(profile: ColumnProfile, floors: tuple[float, ...], offsets: Floats | None) -> Days:
    per_day = profile.rows_per_day
    correlation = (profile.design_effect - 1) / (per_day - 1) if per_day > 1 else 0.0
    return Days(
        floor=profile.floor_d,
        floor_by_weekday=floors,
        correlation=correlation,
        baseline_effect=profile.design_effect * (1.0 if offsets is None else days.SEASON_EFFECT),
        offsets=offsets,
    )
