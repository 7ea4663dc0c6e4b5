"""From numbers to sentences: what one window shows that somebody may have to know."""

import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from contracts.profile import BaselineProfile, CategoricalProfile
from contracts.served import FIRST_ERROR_OUTCOME, OUTCOMES
from monitor.domain import outputs
from monitor.domain.alerts import Sighting, Subject
from monitor.domain.drift import ColumnDrift
from monitor.domain.floors import Floor
from monitor.domain.segments import SegmentFinding
from monitor.domain.tally import Volume
from monitor.domain.tickets import Finding, sentence
from monitor.domain.when import Window

ACCURACY_MARGIN = 0.10
LOG_LOSS_MARGIN = 0.5
RMSCE_LIMIT = 0.10
DAYS_P = 0.01
"""Of the calibration test with days as clusters."""
CONCEPT_LIMIT = 0.05
"""Nats of log-loss beyond what the inputs explain."""
ERROR_SHARE = 0.05
NAN_SHARE = 0.01
OUTSIDE_SHARE = 0.01
LAG_LIMIT_S = 300.0
LITERAL_P = 0.05
OF_LABELS = (
    "accuracy", "log_loss", "floor", "calibration", "concept_drift", "labels_overdue",
    "exploration",
)  # fmt: skip
"""Kinds that ``leadline quality`` computes again; the others are ``leadline drift``'s."""


class Witness:
    """Says what it sees of one version in one window."""

    def __init__(self, model: str, version: str, window: Window) -> None:
        self._model = model
        self._version = version
        self._window = window

    def _see(
        self, kind: str, severity: Any, level: float | None, sentence: str, feature: str = "",
        segment: str = "", needed: int = 1, windows: int = 1, evidence: Any = None,
    ) -> Sighting:  # fmt: skip
        window, asked = self._window, "quality" if kind in OF_LABELS else "drift"
        whole = {
            "window": window.text,
            "version": self._version,
            "replay": f"leadline {asked} {self._model} --version {self._version} "
            f"--from {day_text(window.from_us)} --until {day_text(window.until_us)}"
            + (f" --segment {shlex.quote(segment)}" if segment else ""),
            **(evidence or {}),
        }
        return Sighting(
            Subject(self._model, kind, self._version, feature, segment), severity, level,
            f"{self._model} v{self._version}, {window.text}: {sentence}",
            window.until_us, window.until_us - window.from_us, needed, windows, whole,
        )  # fmt: skip

    def columns(self, drifts: Mapping[str, ColumnDrift], segment: str = "") -> Iterator[Sighting]:
        """The literal rules, and breakage; of any window."""
        for name, drift in drifts.items():
            if drift.rows == 0:
                continue
            known = drift.state == "OK"
            facts = asdict(drift)
            yield self._see(
                "schema", "page", None if not known else float(drift.counted == 0),
                f"{name}: none of {drift.rows} rows has a usable value", name, segment,
                evidence=facts,
            )  # fmt: skip
            if drift.counted == 0:
                continue
            literal = None if not known else float(drift.p < LITERAL_P)
            yield self._see(
                "ks", "info", literal,
                f"{name}: D = {drift.pooled_distance:.3f}, p = {drift.p:.2g} on {drift.counted} "
                "rows (p < 0.05 alone says little on many rows)", name, segment, evidence=facts,
            )  # fmt: skip
            if drift.mean_shift is not None:
                yield self._see(
                    "mean", "info", abs(drift.mean_shift) / 2 if known else None,
                    f"{name}: mean {drift.mean_shift:+.2f} σ from training on {drift.counted} "
                    "rows, limit 2 σ", name, segment, evidence=facts,
                )  # fmt: skip
            strange = drift.outside_p < 1e-6 and drift.outside_rate > OUTSIDE_SHARE
            kind, what = ("range", "outside the training range")
            if drift.kind == "categorical":
                kind, what = ("unseen", "in categories never seen in training")
            yield self._see(
                kind, "info", float(strange) if known else None,
                f"{name}: {drift.outside_rate:.1%} of {drift.counted} rows {what}", name, segment,
                evidence=facts,
            )  # fmt: skip

    def findings(
        self,
        found: Mapping[str, Finding],
        drifts: Mapping[str, ColumnDrift],
        days: int,
        why_not: str = "too little data",
    ) -> Iterator[Sighting]:
        """The robust rules of a nightly run: what deserves a ticket; ``why_not`` where a column has
        no finding."""
        for name, drift in drifts.items():
            finding = found.get(name)
            if finding is None:
                yield self._see("drift", "ticket", None, f"{name}: {why_not}", name)
                continue
            evidence = {**asdict(drift), **asdict(finding)}
            text = sentence(finding, drift, days)
            close = max(
                finding.shape_total / finding.limit,
                drift.low / drift.floor if drift.floor > 0 else 0.0,
            )
            level = max(1.0, close) if finding.gross or finding.lasting else min(close, 0.99)
            yield self._see("drift", "ticket", level, text, name, evidence=evidence)
            nulls = finding.nulls_total / finding.nulls_limit
            yield self._see("null", "ticket", nulls, text, name, evidence=evidence)
            outside = finding.outside_total / finding.nulls_limit
            yield self._see("strange", "ticket", outside, text, name, evidence=evidence)
            if drift.mean_shift is not None:
                yield self._see(
                    "gross_mean", "ticket", float(finding.beyond_two_sigma),
                    f"{name}: mean {drift.mean_shift:+.2f} σ from training in three windows "
                    f"running, {drift.counted} rows in the last", name, evidence=evidence,
                )  # fmt: skip

    def segments(self, found: Iterable[SegmentFinding]) -> Iterator[Sighting]:
        """Segments that moved unlike the whole, in two of three nights."""
        for one in found:
            yield self._see(
                "drift", "ticket", one.level, one.sentence, one.column, one.segment,
                needed=2, windows=3, evidence=one.evidence,
            )  # fmt: skip

    def joint(self, text: str, close: float, over: bool, evidence: Any) -> Sighting:
        """How the columns move together."""
        level = max(1.0, close) if over else min(close, 0.99)
        return self._see("joint", "ticket", level, text, evidence=evidence)

    def outputs(self, volume: Volume, profile: BaselineProfile | None) -> Iterator[Sighting]:
        """Silent errors of the output, and loud ones."""
        rows, ok = volume.count("rows"), volume.count("ok")
        enough = rows >= 20
        errors = sum(volume.count(name) for name in OUTCOMES[FIRST_ERROR_OUTCOME:])
        share = errors / rows if rows else 0.0
        yield self._see(
            "errors", "ticket", share / ERROR_SHARE if enough else None,
            f"{errors} of {rows} rows ended in an error ({share:.1%}, limit {ERROR_SHARE:.0%})",
        )  # fmt: skip
        nans = volume.count("nan_answer")
        yield self._see(
            "nan_answers", "page", nans / rows / NAN_SHARE if enough else None,
            f"{nans} of {rows} answers are NaN (limit {NAN_SHARE:.0%})",
        )  # fmt: skip
        constant = volume.count("changes") == 0
        chance = outputs.run_p(ok, ok, mode_share(profile)) if ok and constant else 1.0
        yield self._see(
            "stuck", "page", float(chance < outputs.STUCK_P) if ok >= 20 else None,
            f"all {ok} answers are the same number; chance {chance:.1g}",
        )  # fmt: skip
        yield from self._decisions(volume, profile)
        saturated = volume.count("saturated") / ok if ok else 0.0
        yield self._see(
            "saturated", "info", saturated / 0.5 if ok >= 20 else None,
            f"{saturated:.1%} of {ok} answers have a confidence of 0.999 or more",
        )  # fmt: skip

    def _decisions(self, volume: Volume, profile: BaselineProfile | None) -> Iterator[Sighting]:
        """One decision for everything, in an hour that usually brings both."""
        share = None
        if profile is not None:
            share = outputs.usual_positive_share(profile, self._window.from_hour)
        classes = volume.classes
        decided = int(classes.sum())
        if share is None:
            return
        chance = outputs.same_decision_p(classes, share)
        yield self._see(
            "one_decision", "info", float(chance < outputs.STUCK_P) if decided >= 20 else None,
            f"{outputs.mode_share(classes):.0%} of {decided} decisions are the same (entropy "
            f"{outputs.entropy(classes):.2f} nats) where {share:.0%} positive ones are usual at "
            f"this hour of the week; chance {chance:.1g}",
        )  # fmt: skip

    def quality(
        self,
        found: Mapping[str, Any],
        profile: BaselineProfile | None,
        completeness_min: float,
        *,
        fed: bool,
    ) -> Iterator[Sighting]:
        """Realised quality of one day against validation; needs two of three days."""
        share = found.get("completeness_due")
        due = int(found.get("due") or 0)
        yield self._see(
            "labels_overdue", "ticket",
            None if share is None or due < 20 or not fed else (1 - share) / (1 - completeness_min),
            f"{1 - (share or 0):.1%} of {due} predictions past their due age have no label "
            f"(limit {1 - completeness_min:.0%})",
        )  # fmt: skip
        loop = found.get("exploration")
        if loop is not None:
            yield self._see(
                "exploration", "ticket", float(not loop["agrees"]) if loop["rows"] else None,
                f"{loop['observed']:.2%} of {loop['rows']} decisions were explored, configured "
                f"{loop['expected']:.2%} (99 % interval {loop['low']:.2%} to {loop['high']:.2%})",
                evidence=slim(loop),
            )  # fmt: skip
        reference = profile.quality if profile else None
        judged = found["state"] == "OK" and share is not None and share >= completeness_min
        if reference is None or "accuracy" not in found:
            return
        why = why_of(found)
        if reference.accuracy is not None:
            low, high = found["accuracy_interval"]
            level = (reference.accuracy - high) / ACCURACY_MARGIN
            yield self._see(
                "accuracy", "ticket", level if judged else None,
                f"accuracy {found['accuracy']:.3f} [{low:.3f}, {high:.3f}] on {found['n']} "
                f"labelled predictions, {reference.accuracy:.3f} in validation{why}",
                needed=2, windows=3, evidence=slim(found),
            )  # fmt: skip
        if reference.log_loss:
            low = found["log_loss_interval"][0]
            level = None
            if judged and low is not None:
                level = (low / reference.log_loss - 1) / LOG_LOSS_MARGIN
            yield self._see(
                "log_loss", "ticket", level,
                f"log-loss {found['log_loss']:.3f} on {found['n']} labelled predictions, "
                f"{reference.log_loss:.3f} in validation{why}",
                needed=2, windows=3, evidence=slim(found),
            )  # fmt: skip

    def floors(
        self, found: Mapping[str, Any], floors: Iterable[Floor], completeness_min: float
    ) -> Iterator[Sighting]:
        """Limits that people have set: a page when the whole interval is beyond one."""
        share = found.get("completeness_due")
        judged = found["state"] == "OK" and share is not None and share >= completeness_min
        for floor in floors:
            if not floor.holds_for(self._model) or f"{floor.metric}_interval" not in found:
                continue
            low, high = found[f"{floor.metric}_interval"]
            ends = "open" if low is None or high is None else f"{low:.3f}, {high:.3f}"
            yield self._see(
                "floor", "page", floor.level(found) if judged else None,
                f"{floor.metric} {found[floor.metric]:.3f} [{ends}] on {found['n']} labelled "
                f"predictions, beyond the {floor.side} of {floor.limit:g} that was set for it"
                f"{why_of(found)}",
                floor.metric, evidence={**slim(found), "limit": floor.limit},
            )  # fmt: skip

    def week(self, found: Mapping[str, Any], completeness_min: float) -> Iterator[Sighting]:
        """Calibration and concept drift over the last seven days."""
        share = found.get("completeness_due")
        judged = found["state"] == "OK" and share is not None and share >= completeness_min
        if "calibration" not in found:
            return
        error = found["calibration"]
        by_day = error["p_by_day"]
        significant = error["p"] < 1e-6 and by_day is not None and by_day < DAYS_P
        yield self._see(
            "calibration", "ticket",
            None if not judged or by_day is None
            else error["rmsce"] / RMSCE_LIMIT * (1.0 if significant else 0.0),
            f"calibration error {error['rmsce']:.3f} (limit {RMSCE_LIMIT}), mean prediction "
            f"{found['mean_prediction']:.3f} against {found['mean_label']:.3f} realised, on "
            f"{found['n']} labelled predictions",
            evidence=slim(found),
        )  # fmt: skip
        drift = found.get("concept_drift")
        if drift is not None:
            low = drift["low"]
            yield self._see(
                "concept_drift", "ticket",
                None if not judged or low is None else low / CONCEPT_LIMIT,
                f"log-loss exceeds what the inputs explain by {drift['difference']:.3f} nats"
                + ("" if low is None else f", at least {low:.3f}")
                + f", over {drift['days']} days{why_of(found)}",
                evidence=slim(found),
            )  # fmt: skip


def pipeline(lag_s: float, missing: int, new_gaps: int, now_us: int) -> list[Sighting]:
    """Of the log itself: behind, or lost."""
    window_us = 60_000_000
    return [
        Sighting(
            Subject("*", "lag"), "ticket", lag_s / LAG_LIMIT_S,
            f"the monitor is {lag_s:.0f} s behind the served log (limit {LAG_LIMIT_S:.0f} s)",
            now_us, window_us,
        ),
        Sighting(
            Subject("*", "lost_data"), "page", float(new_gaps > 0),
            f"{missing} records that producers numbered have not come", now_us, window_us,
        ),
    ]  # fmt: skip


def why_of(found: Mapping[str, Any]) -> str:
    """Half a sentence that explains: did the share of positives move, or the meaning?"""
    if found.get("mean_label") is None or not found.get("expected"):
        return ""
    now, expected = found["mean_label"], found["expected"]["positive_rate"]
    return f"; {now:.0%} turned out positive where {expected:.0%} were to be expected"


def slim(found: Mapping[str, Any]) -> dict[str, Any]:
    """The evidence without its long tables."""
    return {name: value for name, value in found.items() if not isinstance(value, (dict, list))}


def mode_share(profile: BaselineProfile | None) -> float:
    """Share of the commonest exact score in the baseline, at least 1 %."""
    column = profile.prediction if profile else None
    if column is None:
        return 0.5
    counts = column.categories.values() if isinstance(column, CategoricalProfile) else column.counts
    return max([0.01, *(count / max(column.rows, 1) for count in counts)])


def day_text(at_us: int) -> str:
    """``2013-12-05T00Z``."""
    return datetime.fromtimestamp(at_us / 1e6, UTC).strftime("%Y-%m-%dT%H:%MZ")
