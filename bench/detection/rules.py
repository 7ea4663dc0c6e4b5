"""The rules of other tools, re-implemented from their documentation for one column and one day.

Labelled as re-implementations wherever they are shown. Each gives a score that is compared with
the tool's own default limit; the limit is also moved until its false alarms match ours.

- KS p < 0.05 and Bonferroni: scipy's two-sample test per column.
- Evidently (0.7, reference over 1,000 rows): normed Wasserstein distance ≥ 0.1 for numbers,
  Jensen-Shannon distance ≥ 0.1 for categories; a data set drifts when half its columns do.
- NannyML (0.13, univariate): Jensen-Shannon distance above mean + 3 σ of the reference's chunks.
- SageMaker Model Monitor / deequ (``Robust``): L∞ − 1.8 sqrt((n + m)/(n m)) > 0.1.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.spatial import distance

from contracts.profile import NumericProfile
from monitor.domain.drift import ColumnDrift
from monitor.domain.edges import count
from monitor.domain.reference import CategoricalReference, NumericReference, Reference
from monitor.domain.windows import ColumnCounts

Floats = npt.NDArray[np.float64]

EVIDENTLY_LIMIT = 0.1
DEEQU_LIMIT = 0.1
NANNYML_SIGMAS = 3.0


@dataclass(frozen=True, slots=True)
class Scores:
    """One column on one day; larger is more alarming. ``ks`` is 1 − p."""

    ks: float
    evidently: float
    nannyml: float
    deequ: float


@dataclass(frozen=True, slots=True)
class Histogram:
    """NannyML's bins of a numeric reference (Doane's rule) with the reference's shares."""

    edges: Floats
    shares: Floats


def histogram_of(values: Floats) -> Histogram:
    """Bins of a finite reference sample."""
    edges = np.histogram_bin_edges(values, bins="doane")[1:-1]
    return Histogram(edges, count(values, edges) / len(values))


def jensen_shannon(reference: Floats, live: npt.NDArray[np.int64]) -> float:
    """Distance (square root, base 2) of two histograms."""
    rows = int(live.sum())
    return float(distance.jensenshannon(reference, live / rows, base=2)) if rows else 0.0


def wasserstein_normed(reference: NumericReference, window: ColumnCounts) -> float:
    """∫ |F − G| over the live edges, in reference σ; within 2 % of scipy's on the raw values."""
    profile: NumericProfile = reference.profile
    rows = window.counted
    if rows == 0 or profile.std == 0:
        return 0.0
    gap = np.abs(np.cumsum(window.cells)[:-1] / rows - reference.shares)
    edges = reference.bins.edges
    area = float(((gap[1:] + gap[:-1]) / 2 * np.diff(edges)).sum())
    return area / max(profile.std, 0.001)


def score(
    reference: Reference,
    histogram: Histogram | None,
    window: ColumnCounts,
    drift: ColumnDrift,
    finite: Floats | None,
) -> Scores:
    """All rules' scores; ``histogram`` and ``finite`` are of numeric columns."""
    if isinstance(reference, CategoricalReference) or histogram is None or finite is None:
        assert isinstance(reference, CategoricalReference)
        apart = jensen_shannon(reference.shares, window.cells)
        live = window.cells / max(window.counted, 1)
        simple = float(np.abs(live - reference.shares).max())
        evidently = nannyml = apart
    else:
        evidently = wasserstein_normed(reference, window)
        nannyml = jensen_shannon(histogram.shares, count(finite, histogram.edges))
        simple = drift.pooled_distance
    n, m = reference.profile.rows, max(window.counted, 1)
    robust = max(0.0, simple - 1.8 * np.sqrt((n + m) / (n * m)))
    return Scores(1.0 - drift.p, evidently, nannyml, float(robust))
