"""Limits that people set for a model's quality; below them somebody is woken."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

MODELS = "*"
"""In place of a model's name: every model."""
HIGH_IS_GOOD = ("accuracy", "auc")
LOW_IS_GOOD = ("brier", "log_loss", "mae", "rmse")


@dataclass(frozen=True, slots=True)
class Floor:
    """The worst value of ``metric`` that is still good enough for ``model``."""

    model: str
    metric: str
    limit: float

    def holds_for(self, model: str) -> bool:
        """Is it about this model?"""
        return self.model in (MODELS, model)

    def level(self, found: Mapping[str, Any]) -> float | None:
        """How much of the metric's interval in ``found`` (``<metric>_interval``, [low, high]) lies
        beyond the limit: 1 or more is all of it, 0 none. None: no finite interval.
        """
        low, high = found.get(f"{self.metric}_interval") or (None, None)
        if low is None or high is None:
            return None
        beyond = self.limit - low if self.metric in HIGH_IS_GOOD else high - self.limit
        width = high - low
        if width <= 0:
            return float(beyond > 0)
        return max(0.0, float(beyond / width))

    @property
    def side(self) -> str:
        """``floor`` or ``ceiling``."""
        return "floor" if self.metric in HIGH_IS_GOOD else "ceiling"


def read_floors(texts: Iterable[str]) -> tuple[Floor, ...]:
    """Of texts such as ``delay:accuracy=0.75`` or ``*:log_loss=0.6``.

    Raises ``ValueError`` that says which text is wrong, and why.
    """
    return tuple(_read(text) for text in texts)


def _read(text: str) -> Floor:
    subject, equals, number = text.partition("=")
    model, colon, metric = subject.strip().rpartition(":")
    if not (equals and colon and model):
        raise ValueError(f"quality floor {text!r}: MODEL:METRIC=LIMIT is expected")
    if metric not in (*HIGH_IS_GOOD, *LOW_IS_GOOD):
        known = ", ".join((*HIGH_IS_GOOD, *LOW_IS_GOOD))
        raise ValueError(f"quality floor {text!r}: the metric is none of {known}")
    try:
        limit = float(number)
    except ValueError:
        limit = math.nan
    most = 1.0 if metric in HIGH_IS_GOOD else math.inf
    if not 0 < limit <= most or math.isinf(limit):
        raise ValueError(f"quality floor {text!r}: the limit is no number in its range")
    return Floor(model, metric, limit)
