"""Is it still right? Windows of what was served against the baseline, and predictions against
the truth."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from contracts.problems import ProblemCode
from kit.clock import Clock
from kit.problems import Problem
from monitor.domain import rates, scoring
from monitor.domain.drift import ColumnDrift, judge_column
from monitor.domain.multiplicity import q_values
from monitor.domain.rows import HOUR_US
from monitor.domain.scored import Scored
from monitor.domain.tally import Layout
from monitor.ports import Baselines, History, Offload, Seen

SERVING = ("production", "canary", "arm")
"""Variants whose answers somebody got."""


@dataclass(frozen=True, slots=True)
class Window:
    """Business time [from_hour, until_hour), in hours since 1970 UTC."""

    from_hour: int
    until_hour: int

    @property
    def from_us(self) -> int:
        """First microsecond."""
        return self.from_hour * HOUR_US

    @property
    def until_us(self) -> int:
        """First microsecond after it."""
        return self.until_hour * HOUR_US


def last_hours(now_us: int, hours: int) -> Window:
    """The window of so many hours that ends with the running hour."""
    until = now_us // HOUR_US + 1
    return Window(until - hours, until)


class Judge:
    """Answers about drift and quality, from stored counts and joined labels."""

    def __init__(
        self,
        history: History,
        baselines: Baselines,
        offload: Offload,
        clock: Clock,
        *,
        rows_min: int,
        label_due_us: int,
        completeness_min: float,
    ) -> None:
        self._history = history
        self._baselines = baselines
        self._offload = offload
        self._clock = clock
        self._rows_min = rows_min
        self._label_due_us = label_due_us
        self._completeness_min = completeness_min

    async def drift(
        self, model: str, window: Window, version: str | None = None, segment: str = ""
    ) -> dict[str, Any]:
        """Every served version of the model in the window, column by column."""
        return await self._offload(lambda: self._drift(model, window, version, segment))

    def _drift(
        self, model: str, window: Window, version: str | None, segment: str
    ) -> dict[str, Any]:
        seen = self._seen(model, window, version)
        return {
            "model": model,
            "as_of_us": self._clock.now_us(),
            "window": asdict(window),
            "segment": segment,
            "versions": [
                self._drift_of(model, name, variants, window, segment)
                for name, variants in seen.items()
            ],
        }

    def _seen(self, model: str, window: Window, version: str | None) -> dict[str, list[Seen]]:
        found: dict[str, list[Seen]] = defaultdict(list)
        for one in self._history.seen(model, window.from_hour, window.until_hour):
            if version in (None, one.version):
                found[one.version].append(one)
        if not found and model not in self._history.models():
            raise Problem(ProblemCode.NOT_FOUND, "Nothing of this model has been served.")
        return dict(found)

    def _drift_of(
        self, model: str, version: str, seen: Sequence[Seen], window: Window, segment: str
    ) -> dict[str, Any]:
        answer: dict[str, Any] = {
            "version": version,
            "variants": {one.variant: one.rows for one in seen},
            "rows": sum(one.rows for one in seen),
        }
        known = self._baselines.known(model, version)
        if known.layout is None:
            state = {"no_baseline": "NO_BASELINE", "unknown": "UNKNOWN_VERSION"}
            return {**answer, "state": state.get(known.state, "BASELINE_PENDING"), "columns": {}}
        drifts = self.column_drifts(known.layout, model, version, seen, window, segment)
        usable = [name for name, drift in drifts.items() if drift.state == "OK"]
        q = dict(zip(usable, q_values([drifts[name].p for name in usable]), strict=True))
        return {
            **answer,
            "state": "OK" if usable else "INSUFFICIENT_DATA",
            "baseline_sha256": known.layout.baseline_sha,
            "columns": {
                name: {**asdict(drift), "q": float(q[name]) if name in q else None}
                for name, drift in drifts.items()
            },
        }

    def column_drifts(
        self, layout: Layout, model: str, version: str, seen: Sequence[Seen], window: Window,
        segment: str = "",
    ) -> dict[str, ColumnDrift]:  # fmt: skip
        """Each column of one version in one window; in the stores' thread."""
        cell = self._history.cell(
            model, version, [one.variant for one in seen], window.from_hour, window.until_hour,
            layout.baseline_sha, segment,
        )  # fmt: skip
        cell = cell or layout.empty()
        return {
            name: judge_column(reference, layout.column(cell, name), self._rows_min)
            for name, reference in layout.references.items()
        }

    async def quality(
        self, model: str, window: Window, version: str | None = None, segment: str = ""
    ) -> dict[str, Any]:
        """Every served version of the model against the labels of its window's predictions."""
        return await self._offload(lambda: self._quality(model, window, version, segment))

    def _quality(
        self, model: str, window: Window, version: str | None, segment: str
    ) -> dict[str, Any]:
        versions = []
        for name, seen in self._seen(model, window, version).items():
            scored = self._history.scored(
                model, name, [one.variant for one in seen], window.from_us, window.until_us, segment
            )
            known = self._baselines.known(model, name)
            task = known.manifest.task if known.manifest else "classification"
            found = quality_of(scored, task, self._rows_min)
            found |= completeness_of(scored, self._clock.now_us(), self._label_due_us)
            versions.append(
                {"version": name, "variants": {one.variant: one.rows for one in seen}, **found}
            )
        return {
            "model": model,
            "as_of_us": self._clock.now_us(),
            "window": asdict(window),
            "segment": segment,
            "completeness_min": self._completeness_min,
            "versions": versions,
        }


def quality_of(scored: Scored, task: str, rows_min: int) -> dict[str, Any]:
    """Quality over the labelled predictions; ``None`` where it is not defined."""
    known = scored.only(scored.labelled)
    n = len(known)
    answer: dict[str, Any] = {
        "state": "OK" if n >= rows_min else "INSUFFICIENT_DATA",
        "n": n,
        "mean_prediction": float(known.score.mean()) if n else None,
        "mean_label": float(known.label.mean()) if n else None,
    }
    if n == 0:
        return answer
    if task == "regression":
        error = known.score - known.label
        mae = float(np.abs(error).mean())
        return {**answer, "mae": mae, "rmse": float(np.sqrt(np.square(error).mean()))}
    truth = known.label > 0.5
    right = int((known.predicted == known.label).sum())
    low, high = rates.wilson(right, n)
    return {
        **answer,
        "accuracy": right / n,
        "accuracy_interval": [low, high],
        "log_loss": float(scoring.log_losses(known.score, truth).mean()),
        "brier": float(np.square(known.score - truth).mean()),
        "auc": scoring.auc(known.score, truth),
    }


def completeness_of(scored: Scored, now_us: int, due_us: int) -> dict[str, Any]:
    """Shares of answered predictions with a label: of all, and of those old enough to have one."""
    answered = np.isfinite(scored.score)
    due = answered & (scored.at_us <= now_us - due_us)
    labelled = scored.labelled
    return {
        "predictions": int(answered.sum()),
        "completeness": _share(labelled, answered),
        "due": int(due.sum()),
        "completeness_due": _share(labelled, due),
    }


def _share(part: Any, whole: Any) -> float | None:
    return float((part & whole).sum() / whole.sum()) if whole.any() else None
