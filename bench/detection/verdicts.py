"""From scores to figures: false alarms, limits at a matched rate, delays, columns named."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bench.detection.rules import DEEQU_LIMIT, EVIDENTLY_LIMIT, NANNYML_SIGMAS
from bench.detection.simulation import WARM_DAYS, Trace
from monitor.domain.cusum import SLACK
from monitor.domain.edges import Floats

Bools = npt.NDArray[np.bool_]
HORIZON_DAYS = 90


@dataclass(frozen=True, slots=True)
class Rate:
    """Alarm days in 90 clean days of one model, with a 95 % interval over baselines."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.2f} [{self.low:.2f}, {self.high:.2f}]"


@dataclass(frozen=True, slots=True)
class Delay:
    """Days until the broken column was named (1: on the first day), over cases."""

    median: float
    found: float
    right: float
    """Share of first alarms after the break that name the broken column."""

    def __str__(self) -> str:
        days = "never" if math.isinf(self.median) else f"{self.median:g}"
        return f"{days} ({self.found:.0%}; names it {self.right:.0%})"


def default_alarms(method: str, trace: Trace) -> Bools:
    """[days, columns] by a tool's own default limit."""
    columns = trace.z.shape[1]
    drifted: Bools = trace.scores["evidently"] >= EVIDENTLY_LIMIT
    rules: dict[str, Bools] = {
        "KS p < 0.05": trace.scores["ks"] > 0.95,
        "KS Bonferroni": trace.scores["ks"] > 1 - 0.05 / columns,
        "Evidently, a column": drifted,
        "Evidently, the data set": drifted & (drifted.mean(axis=1, keepdims=True) >= 0.5),
        "NannyML": trace.scores["nannyml"] > NANNYML_SIGMAS,
        "deequ robust": trace.scores["deequ"] > DEEQU_LIMIT,
        "always fires": np.ones_like(trace.gross),
        "never fires": np.zeros_like(trace.gross),
    }
    return rules[method]


DEFAULTS = (
    "KS p < 0.05",
    "KS Bonferroni",
    "Evidently, a column",
    "Evidently, the data set",
    "NannyML",
    "deequ robust",
    "always fires",
    "never fires",
)


def rate_of(days: Sequence[float], group: Sequence[int], horizon: int) -> Rate:
    """Alarm days of each run of ``horizon`` days, runs grouped by the baseline they share."""
    scaled = np.array(days, dtype=np.float64) * HORIZON_DAYS / horizon
    keys = np.unique(group)
    means = np.array([scaled[np.array(group) == key].mean() for key in keys])
    half = 1.96 * float(means.std(ddof=1)) / math.sqrt(len(means)) if len(means) > 1 else math.inf
    mean = float(means.mean())
    return Rate(mean, max(0.0, mean - half), mean + half)


def matched_limit(scores: Sequence[Floats], per_days: float = HORIZON_DAYS) -> float:
    """The limit at which a score [days, columns] alarms on one day in ``per_days``, any column."""
    worst = np.concatenate([score.max(axis=1) for score in scores])
    return float(np.quantile(worst, 1 - 1 / per_days))


def cusum_alarms(trace: Trace, limit: float) -> Bools:
    """[days, columns + 1] of our lasting rule alone at a given limit (last: the joint check)."""
    z = np.column_stack([trace.z, trace.joint_z])
    nothing = np.full(len(z), -3.0)
    series = np.stack(
        [
            z,
            np.column_stack([trace.null_z, nothing]),
            np.column_stack([trace.outside_z, nothing]),
        ]
    )
    totals = np.zeros((3, z.shape[1]))
    alarms = np.zeros(z.shape, dtype=bool)
    for day in range(len(z)):
        totals = np.maximum(0.0, totals + series[:, day] - SLACK)
        over = totals > limit
        alarms[day] = over.any(axis=0)
        totals[over] = 0.0
    return alarms


def matched_cusum(traces: Sequence[Trace], per_days: float = HORIZON_DAYS) -> float:
    """The limit of our lasting rule at one alarm day in ``per_days``."""
    low, high = 0.5, 20.0
    for _ in range(16):
        middle = (low + high) / 2
        rate = np.mean([cusum_alarms(trace, middle).any(axis=1).mean() for trace in traces])
        low, high = (middle, high) if rate > 1 / per_days else (low, middle)
    return high


def delay_of(alarms: Sequence[Bools], column: int, also: int | None = None) -> Delay:
    """Delays over cases of alarm arrays [days, columns], the first warm days left out.

    ``also`` is a second index that names the broken column as well (the joint check).
    """
    delays, right = [], []
    for alarm in alarms:
        broken = alarm[WARM_DAYS:]
        mine = broken[:, column]
        if also is not None:
            mine = mine | broken[:, also]
        delays.append(float(mine.argmax()) + 1 if mine.any() else math.inf)
        days = broken.any(axis=1)
        if days.any():
            right.append(bool(mine[days.argmax()]))
    found = np.isfinite(delays)
    median = float(np.median(delays)) if found.mean() >= 0.5 else math.inf
    return Delay(median, float(found.mean()), float(np.mean(right)) if right else 0.0)
