"""What a person reads: the last days of a model version on one page, and the same as JSON."""

from datetime import UTC, datetime
from typing import Any

from contracts.problems import ProblemCode
from kit.clock import Clock
from kit.problems import Problem
from monitor.domain.alerts import describe
from monitor.domain.page import page
from monitor.ports import Baselines, History, Offload, Run, Verdicts

DAYS_SHOWN = 31


class Report:
    """Reports of nightly runs."""

    def __init__(
        self,
        history: History,
        verdicts: Verdicts,
        baselines: Baselines,
        offload: Offload,
        clock: Clock,
    ) -> None:
        self._history = history
        self._verdicts = verdicts
        self._baselines = baselines
        self._offload = offload
        self._clock = clock

    async def data(
        self, model: str, version: str | None = None, until_us: int | None = None
    ) -> dict[str, Any]:
        """The report of the last nightly run (that ended by ``until_us``) as JSON. Without a
        version: the one that served most. Raises not-found before the first night."""
        return await self._offload(lambda: self._data(model, version, until_us))

    async def html(
        self, model: str, version: str | None = None, until_us: int | None = None
    ) -> str:
        """The same as a self-contained page."""
        return await self._offload(lambda: self._html(model, version, until_us))

    def _html(self, model: str, version: str | None, until_us: int | None) -> str:
        data = self._data(model, version, until_us)
        layout = self._baselines.known(model, data["version"]).layout
        cell = None
        if layout is not None:
            cell = self._history.cell(
                model, data["version"], list(data["variants"]), data["window"]["from_hour"],
                data["window"]["until_hour"], layout.baseline_sha,
            )  # fmt: skip
        return page(data, layout, cell)

    def _data(self, model: str, version: str | None, until_us: int | None) -> dict[str, Any]:
        runs = self._verdicts.runs(model, "day", DAYS_SHOWN, until_us)
        runs = [run for run in runs if run.result["versions"]]
        if not runs:
            raise Problem(ProblemCode.NOT_FOUND, "No night of this model has been judged yet.")
        versions = runs[0].result["versions"]
        chosen = version or max(versions, key=lambda name: int(versions[name]["rows"]))
        if chosen not in versions:
            raise Problem(ProblemCode.NOT_FOUND, "This version did not serve in that window.")
        found, layout = versions[chosen], self._baselines.known(model, chosen).layout
        quality = layout.profile.quality if layout else None
        return {
            "model": model,
            "version": chosen,
            "run": runs[0].id,
            "window": runs[0].result["window"],
            "window_text": runs[0].result["text"],
            "as_of": f"{datetime.fromtimestamp(self._clock.now_us() / 1e6, UTC):%Y-%m-%d %H:%M}Z",
            "state": found["state"],
            "rows": found["rows"],
            "variants": found["variants"],
            "baseline_sha256": found.get("baseline_sha256"),
            "unlike_other_days": found.get("unlike_other_days"),
            "columns": found.get("columns", {}),
            "segments": found.get("segments", {}),
            "rolling_week": found.get("rolling_week"),
            "volume": found["volume"],
            "alerts": self._alerts(model, chosen),
            "days": [_effects(run, chosen) for run in reversed(runs)],
            "quality_days": [
                day for run in reversed(runs) if (day := _quality(run, chosen)) is not None
            ],
            "reference_accuracy": quality.accuracy if quality else None,
            "reference_reliability": [bin_.model_dump() for bin_ in quality.calibration]
            if quality
            else [],
        }

    def _alerts(self, model: str, version: str) -> list[dict[str, Any]]:
        now_us = self._clock.now_us()
        return [
            describe(alert, now_us)
            for alert in self._verdicts.read_alerts()
            if alert.firing
            and alert.subject.model in (model, "*")
            and alert.subject.version in (version, "")
        ]


def _effects(run: Run, version: str) -> dict[str, Any]:
    columns = run.result["versions"].get(version, {}).get("columns", {})
    return {
        "day": run.result["text"],
        "effect": {
            name: drift["distance"] / drift["floor"]
            if drift["state"] == "OK" and drift["floor"]
            else None
            for name, drift in columns.items()
        },
    }


def _quality(run: Run, version: str) -> dict[str, Any] | None:
    found = run.result["versions"].get(version, {})
    if "quality" not in found:
        return None
    quality, hours = found["quality"], found["quality_window"]
    expected = quality.get("expected")
    day = datetime.fromtimestamp(hours["from_hour"] * 3600, UTC)
    return {
        "day": f"{day:%Y-%m-%d}",
        "n": quality["n"],
        "accuracy": quality.get("accuracy") if quality["state"] == "OK" else None,
        "interval": quality.get("accuracy_interval"),
        "expected": expected["accuracy"] if expected else None,
        "completeness": quality.get("completeness_due"),
    }
