"""The baseline profile: what the training data looked like, published with the model version.

Stored as ``baseline.json`` among a version's artifacts; the monitor needs nothing else.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CleanScores(_Frozen):
    """Daily drift scores of the training days themselves, each against the days well apart from
    it: what a live score is standardised by, and how high their CUSUM climbed unprovoked."""

    mean: float = 0.0
    upper_std: float = 1.0
    cusum_max: float = 0.0


class NumericProfile(_Frozen):
    """A numeric column of the training sample (nulls and non-finite values left out)."""

    kind: Literal["numeric"] = "numeric"
    rows: int
    nulls: int
    mean: float
    std: float
    minimum: float
    maximum: float
    edges: tuple[float, ...]
    """Sorted distinct upper edges: bin i holds edges[i-1] < x <= edges[i]; the last bin is open.
    At most 1024 quantiles in single precision; every atom (a point with the mass of two bins or
    more) is an edge, and so is the single-precision number just below it."""
    counts: tuple[int, ...]
    """len(edges) + 1 integers that sum to rows - nulls."""
    floor_d: float = 0.02
    """Learned floor of the KS distance: max(0.02, 99 % quantile of leave-one-day-out D)."""
    design_effect: float = 1.0
    floor_d_by_weekday: tuple[float, ...] = ()
    """Seven floors, Monday first, where there were at least four days of each weekday."""
    rows_per_day: float = 0.0
    """Mean rows of a training day: with ``design_effect`` it gives the correlation within a day.
    0 where the training rows carried no time."""
    weekday_offsets: tuple[tuple[float, ...], ...] = ()
    """Seasonal reference, Monday first: by how much the weekday's cumulative share exceeds the
    pooled one at the pooled shares 0, 1/32, ..., 1. Shrunk; empty without a weekly season."""
    clean_scores: CleanScores = CleanScores()


class CategoricalProfile(_Frozen):
    """A categorical column: the 1000 most frequent categories and the rest."""

    kind: Literal["categorical"] = "categorical"
    rows: int
    nulls: int
    categories: dict[str, int]
    other: int = 0
    design_effect: float = 1.0
    floor_d: float = 0.02
    """Learned floor of the total variation distance between days."""
    rows_per_day: float = 0.0
    weekday_offsets: tuple[tuple[float, ...], ...] = ()
    """Seven rows over the categories in their order, then the rest: weekday's share − pooled."""
    clean_scores: CleanScores = CleanScores()


ColumnProfile = NumericProfile | CategoricalProfile


class ReliabilityBin(_Frozen):
    """One bin of the validation scores."""

    mean_score: float
    positives: int
    rows: int


class QualityProfile(_Frozen):
    """Held-back validation rows, scored: the reference for quality and for CBPE."""

    rows: int
    positives: int | None = None
    accuracy: float | None = None
    log_loss: float | None = None
    brier: float | None = None
    auc: float | None = None
    mae: float | None = None
    rmse: float | None = None
    calibration: tuple[ReliabilityBin, ...] = ()
    confusion: tuple[tuple[int, int], tuple[int, int]] | None = None
    """((true negatives, false positives), (false negatives, true positives))."""


class HourRate(_Frozen):
    """Rows of one hour of the week (0 = Monday 00:00 UTC) in the training sample."""

    hour_of_week: int = Field(ge=0, le=167)
    rows: int
    positive_rate: float | None = None


class JointProfile(_Frozen):
    """How the numeric columns move together: means of random features and of products.

    Rows are put on normal scores of their column (null: 0). Everything is a mean over rows, so
    that the live side is a sum: additive, and no training row is needed.
    """

    columns: tuple[str, ...]
    seed: int
    """Of the random features, ``numpy.random.Philox``."""
    rows: int
    features: tuple[float, ...]
    """Means of the random features [R]."""
    products: tuple[float, ...]
    """Means of the products of normal scores, upper triangle with the diagonal, row by row."""
    clean_shape: float
    clean_scale: float
    """Gamma law of the scaled distance of clean days, from leaving one day out."""
    rows_per_day: float
    pair_effect: float = 1.0
    """By how much correlations of clean days vary more than those of independent rows."""
    clean_scores: CleanScores = CleanScores()


class BaselineProfile(_Frozen):
    """``baseline.json``."""

    schema_version: Literal[1] = 1
    model: str
    task: Literal["classification", "regression", "raw"]
    classes: int | None = None
    """How many the model tells apart, where it is more than two: their score is the last class's,
    which says nothing of whether an answer was right."""
    columns: dict[str, ColumnProfile]
    """By model input column name."""
    prediction: ColumnProfile | None = None
    """Scores (probability of the positive or last class, or the regression value)."""
    confidence: ColumnProfile | None = None
    quality: QualityProfile | None = None
    hours: tuple[HourRate, ...] = ()
    joint: JointProfile | None = None
