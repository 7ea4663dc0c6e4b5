"""Many tests at once: false-discovery rates and scores."""

import numpy as np
import numpy.typing as npt
from scipy import special

from monitor.domain.edges import Floats

Z_MIN, Z_MAX = -3.0, 8.0


def q_values(p: npt.ArrayLike) -> Floats:
    """Benjamini-Hochberg adjusted p-values, in the order given (Benjamini, Hochberg 1995)."""
    values = np.asarray(p, dtype=np.float64)
    order = np.argsort(values)
    ranked = values[order] * len(values) / np.arange(1, len(values) + 1)
    adjusted = np.minimum(np.minimum.accumulate(ranked[::-1])[::-1], 1.0)
    result = np.empty_like(adjusted)
    result[order] = adjusted
    return result


def z_of(p: npt.ArrayLike) -> Floats:
    """One-sided normal score of p-values, kept within [−3, 8]: no single window decides alone
    more than that, and a perfect fit earns no unlimited credit."""
    scores: Floats = np.clip(-special.ndtri(np.asarray(p, dtype=np.float64)), Z_MIN, Z_MAX)
    return scores
