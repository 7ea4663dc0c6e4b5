"""Is it still right? Windows of what was served against the baseline, and predictions against
the truth."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from contracts.problems import ProblemCode
from kit.clock import Clock
from kit.logs import get_logger
from kit.problems import Problem
from monitor import metrics
from monitor.domain.alerts import Sighting
from monitor.domain.appraisal import appraise, completeness, explored
from monitor.domain.drift import ColumnDrift, judge_column
from monitor.domain.floors import Floor
from monitor.domain.joint import joint_map, judge_joint
from monitor.domain.multiplicity import q_values
from monitor.domain.night import Night, evenly
from monitor.domain.rows import HOUR_US
from monitor.domain.season import began_or_ended, covered, is_known
from monitor.domain.segments import (
    DAYS,
    GAP_DAYS,
    SegmentDrift,
    SegmentFinding,
    judge_segment,
    judge_segments,
)
from monitor.domain.sightings import Witness
from monitor.domain.tally import Cell, Layout, no_volume, volume_facts
from monitor.domain.tickets import (
    Track,
    joint_limit,
    joint_sentence,
    judge_joint_run,
    judge_run,
)
from monitor.domain.when import Job, Window
from monitor.ports import Baselines, History, KnownVersion, Offload, Parts, Seen, Verdicts

_log = get_logger(__name__)

JOINT = "@joint"
CUSUM_DAYS = 30
"""What a sentence calls the memory of lasting drift."""


@dataclass(frozen=True, slots=True)
class Examined:
    """What a run found: numbers for people, sightings for alerts, memory for the next run."""

    result: dict[str, Any]
    sightings: list[Sighting]
    tracks: dict[tuple[str, str], Track]


@dataclass(frozen=True, slots=True)
class _Case:
    """One version in one window."""

    known: KnownVersion
    seen: tuple[Seen, ...]
    window: Window

    @property
    def model(self) -> str:
        return self.known.model

    @property
    def version(self) -> str:
        return self.known.version

    @property
    def variants(self) -> list[str]:
        return [one.variant for one in self.seen]

    @property
    def rows(self) -> dict[str, int]:
        return {one.variant: one.rows for one in self.seen}


class Judge:
    """Answers about drift and quality, from stored counts and joined labels."""

    def __init__(
        self,
        history: History,
        parts: Parts,
        verdicts: Verdicts,
        baselines: Baselines,
        offload: Offload,
        clock: Clock,
        *,
        rows_min: int,
        label_due_us: int,
        completeness_min: float,
        floors: tuple[Floor, ...] = (),
        known_days: Collection[int] = (),
    ) -> None:
        self._history = history
        self._parts = parts
        self._verdicts = verdicts
        self._baselines = baselines
        self._offload = offload
        self._clock = clock
        self._rows_min = rows_min
        self._label_due_us = label_due_us
        self._completeness_min = completeness_min
        self._floors = floors
        self._known_days = known_days

    async def drift(
        self, model: str, window: Window, version: str | None = None, segment: str = ""
    ) -> dict[str, Any]:
        """Every served version of the model in the window, column by column."""

        def answer() -> dict[str, Any]:
            cases = self._asked(model, window, version, segment)
            found = [self._drift_of(case, segment) for case in cases]
            return {**self._head(model, window, segment), "versions": found}

        return await self._offload(answer)

    async def quality(
        self, model: str, window: Window, version: str | None = None, segment: str = ""
    ) -> dict[str, Any]:
        """Every served version of the model against the labels of its window's predictions."""

        def answer() -> dict[str, Any]:
            versions = []
            for case in self._asked(model, window, version, segment):
                found = self._appraise(case, window, segment)
                versions.append({"version": case.version, "variants": case.rows, **found})
            head = self._head(model, window, segment)
            return {**head, "completeness_min": self._completeness_min, "versions": versions}

        return await self._offload(answer)

    async def examine(self, job: Job, model: str, window: Window) -> Examined:
        """One run of a job: numbers, what they show, and the memory for the next night."""
        return await self._offload(lambda: self._examine(job, model, window))

    def _head(self, model: str, window: Window, segment: str) -> dict[str, Any]:
        return {
            "model": model,
            "as_of_us": self._clock.now_us(),
            "window": asdict(window),
            "window_text": window.text,
            "segment": segment,
        }

    def _cases(self, model: str, window: Window, version: str | None = None) -> list[_Case]:
        """The versions that served in the window. Raises not-found for a model never served."""
        found: dict[str, list[Seen]] = defaultdict(list)
        for one in self._history.seen(model, window.from_hour, window.until_hour):
            if version in (None, one.version):
                found[one.version].append(one)
        if not found and model not in self._history.models():
            raise Problem(ProblemCode.NOT_FOUND, "Nothing of this model has been served.")
        return [
            _Case(self._baselines.known(model, name), tuple(seen), window)
            for name, seen in sorted(found.items())
        ]

    def _asked(self, model: str, window: Window, version: str | None, segment: str) -> list[_Case]:
        """``_cases`` for a person. Raises not-found for a version or a segment without rows: an
        answer about nothing would read as an all-clear."""
        cases = self._cases(model, window, version)
        if version is not None and not cases:
            raise Problem(ProblemCode.NOT_FOUND, "This version did not serve in that window.")
        if not segment or not cases:
            return cases
        known = {
            name
            for case in cases
            for name in self._history.segments(
                model, case.version, window.from_hour, window.until_hour
            )
        }
        if segment not in known:
            some = ", ".join(sorted(known)[:20]) or "none"
            raise Problem(ProblemCode.NOT_FOUND, f"No rows of this segment; there are: {some}.")
        return cases

    def _drift_of(self, case: _Case, segment: str) -> dict[str, Any]:
        answer = {
            "version": case.version,
            "variants": case.rows,
            "rows": sum(case.rows.values()),
        }
        if case.known.layout is None:
            state = {"no_baseline": "NO_BASELINE", "unknown": "UNKNOWN_VERSION"}
            name = state.get(case.known.state, "BASELINE_PENDING")
            return {**answer, "state": name, "columns": {}}
        drifts = self._column_drifts(case.known.layout, case, segment)
        return {**answer, **_columns(case.known.layout, drifts)}

    def _column_drifts(
        self, layout: Layout, case: _Case, segment: str = ""
    ) -> dict[str, ColumnDrift]:
        cell = self._counts(case, layout, case.window, segment)
        return {
            name: judge_column(reference, layout.column(cell, name), self._rows_min)
            for name, reference in layout.references.items()
        }

    def _examine(self, job: Job, model: str, window: Window) -> Examined:
        memory = self._verdicts.tracks(model) if job == "day" else {}
        versions: dict[str, Any] = {}
        found = Examined({"window": asdict(window), "text": window.text}, [], {})
        found.result["versions"] = versions
        for case in self._cases(model, window):
            versions[case.version] = self._examine_case(job, case, memory, found)
        return found

    def _examine_case(
        self, job: Job, case: _Case, memory: Mapping[tuple[str, str], Track], found: Examined
    ) -> dict[str, Any]:
        layout, window = case.known.layout, case.window
        witness = Witness(case.model, case.version, window)
        volumes = self._history.volumes(
            case.model, case.version, case.variants, window.from_hour, window.until_hour
        )
        total = sum(volumes.values(), no_volume())
        result = {"rows": total.count("rows"), "variants": case.rows, "volume": volume_facts(total)}
        if job == "hour":
            found.sightings.extend(witness.outputs(total, layout.profile if layout else None))
        if layout is None:
            return {**result, "state": "NO_BASELINE"}
        drifts = self._column_drifts(layout, case)
        result |= _columns(layout, drifts)
        if job == "hour":
            # An hour's breakage is seen at once; its distributions are the night's business.
            found.sightings.extend(s for s in witness.columns(drifts) if s.severity == "page")
        if job == "day":
            found.sightings.extend(witness.columns(drifts))
            unlike = self._unlike_other_days(case, layout, volumes)
            result["unlike_other_days"] = unlike
            if unlike:
                # Neither an alarm nor an all-clear, and nothing that later nights should remember.
                found.sightings.extend(witness.findings({}, drifts, CUSUM_DAYS, unlike))
            else:
                result |= self._night(case, layout, drifts, memory, found, witness)
        if job != "hour":
            result |= self._truth(job, case, found)
        return result

    def _night(
        self, case: _Case, layout: Layout, drifts: dict[str, ColumnDrift],
        memory: Mapping[tuple[str, str], Track], found: Examined, witness: Witness,
    ) -> dict[str, Any]:  # fmt: skip
        """The robust rules, which remember earlier nights; and each segment for itself."""
        tracks = {name: memory.get((case.version, name), Track()) for name in drifts}
        judged = {one.column: one for one in judge_run(drifts, tracks)}
        found.tracks.update({(case.version, name): track for name, track in tracks.items()})
        found.sightings.extend(witness.findings(judged, drifts, CUSUM_DAYS))
        window = case.window
        names = self._history.segments(
            case.model, case.version, window.from_hour, window.until_hour
        )
        segments = {
            name: {
                column: {"distance": one.distance, "rows": one.rows, "low": one.low}
                for column, one in self._column_drifts(layout, case, name).items()
                if one.state == "OK"
            }
            for name in names
        }
        found.sightings.extend(witness.segments(self._unlike_the_whole(case, layout, names)))
        findings = {name: asdict(one) for name, one in judged.items()}
        answer = {"findings": findings, "segments": segments}
        return answer | self._by_rows(case, layout, memory, found, witness)

    def _unlike_other_days(
        self, case: _Case, layout: Layout, volumes: Collection[int]
    ) -> str | None:
        """Why this day is not held against the training's."""
        window, rates = case.window, layout.profile.hours
        if is_known(self._known_days, window):
            return "people said that this day is unlike others"
        now = covered(rates, volumes, window)
        day_before = Window(window.from_hour - window.hours, window.from_hour)
        hours = self._history.volumes(
            case.model, case.version, case.variants, day_before.from_hour, day_before.until_hour
        )
        if began_or_ended(now, covered(rates, hours, day_before)):
            return f"it served in hours that hold {now:.0%} of a usual day's traffic"
        return None

    def _unlike_the_whole(
        self, case: _Case, layout: Layout, names: Sequence[str]
    ) -> list[SegmentFinding]:
        """Each column of each segment against the segment's own earlier days."""
        end = case.window.from_hour - 24 * GAP_DAYS
        windows = [
            case.window,
            *(Window(end - 24 * i, end - 24 * i + 24) for i in range(1, DAYS + 1)),
        ]
        wholes = [self._counts(case, layout, window) for window in windows]
        found: dict[tuple[str, str], SegmentDrift | None] = {}
        for name in names:
            cells = [self._counts(case, layout, window, name) for window in windows]
            for column, reference in layout.references.items():
                pairs = [
                    (layout.column(cell, column), layout.column(whole, column))
                    for cell, whole in zip(cells, wholes, strict=True)
                ]
                found[name, column] = judge_segment(reference, pairs[0], pairs[1:], self._rows_min)
        return judge_segments(found)

    def _counts(self, case: _Case, layout: Layout, window: Window, segment: str = "") -> Cell:
        cell = self._history.cell(
            case.model, case.version, case.variants, window.from_hour, window.until_hour,
            layout.baseline_sha, segment,
        )  # fmt: skip
        return cell or layout.empty()

    def _by_rows(
        self, case: _Case, layout: Layout, memory: Mapping[tuple[str, str], Track],
        found: Examined, witness: Witness,
    ) -> dict[str, Any]:  # fmt: skip
        """What needs the stored rows: KS at every edge, and how columns move together."""
        compiled = joint_map(layout.profile)
        from_us, until_us = case.window.from_us, case.window.until_us
        stored = self._history.part_names(case.model, case.version, from_us, until_us)
        names, every = evenly(stored, sum(case.rows.values()))
        night = Night(layout, compiled, from_us, until_us, every)
        for name in names:
            try:
                night.add(self._parts.read(name), case.variants)
            except OSError as error:
                metrics.DAMAGED.inc()
                _log.error("part_damaged", part=name, reason=str(error))
        answer: dict[str, Any] = {"fine": night.fine(), "fine_rows": night.rows}
        if compiled is None or night.sums is None:
            return {**answer, "joint": None}
        judged = judge_joint(compiled, night.sums, self._rows_min)
        if judged is None:
            return {**answer, "joint": None}
        track = memory.get((case.version, JOINT), Track())
        over = judge_joint_run(judged, track, len(layout.references))
        found.tracks[case.version, JOINT] = track
        text = joint_sentence(judged, track, len(layout.references))
        limit = joint_limit(judged, len(layout.references))
        found.sightings.append(witness.joint(text, track.shape / limit, over, asdict(judged)))
        return {**answer, "joint": asdict(judged)}

    def _truth(self, job: Job, case: _Case, found: Examined) -> dict[str, Any]:
        """Quality of the window whose labels are due by the end of this one."""
        due_hours = -(-self._label_due_us // HOUR_US) if job == "day" else 0
        ripe = Window(case.window.from_hour - due_hours, case.window.until_hour - due_hours)
        quality = self._appraise(case, ripe)
        result: dict[str, Any] = {"quality_window": asdict(ripe), "quality": quality}
        if job == "day":
            profile = case.known.layout.profile if case.known.layout else None
            minimum = self._completeness_min
            of_ripe = Witness(case.model, case.version, ripe)
            week = Window(ripe.until_hour - 168, ripe.until_hour)
            result["rolling_week"] = rolling = self._appraise(case, week)
            # Where nobody sends labels, none is overdue.
            fed = rolling["n"] > 0
            found.sightings.extend(of_ripe.quality(quality, profile, minimum, fed=fed))
            found.sightings.extend(of_ripe.floors(quality, self._floors, minimum))
            of_week = Witness(case.model, case.version, week)
            found.sightings.extend(of_week.week(rolling, minimum))
        return result

    def _appraise(self, case: _Case, window: Window, segment: str = "") -> dict[str, Any]:
        known = case.known
        scored = self._history.scored(
            case.model, case.version, case.variants, window.from_us, window.until_us, segment
        )
        task = known.manifest.task if known.manifest else "classification"
        profile = known.layout.profile if known.layout else None
        found = appraise(
            scored,
            task,
            profile.quality if profile else None,
            self._rows_min,
            profile.classes if profile else None,
        )
        found |= completeness(scored, self._clock.now_us(), self._label_due_us)
        found["exploration"] = explored(scored, known.manifest)
        return found


def _columns(layout: Layout, drifts: Mapping[str, ColumnDrift]) -> dict[str, Any]:
    usable = [name for name, drift in drifts.items() if drift.state == "OK"]
    q = dict(zip(usable, q_values([drifts[name].p for name in usable]), strict=True))
    return {
        "state": "OK" if usable else "INSUFFICIENT_DATA",
        "baseline_sha256": layout.baseline_sha,
        "columns": {
            name: {**asdict(drift), "q": float(q[name]) if name in q else None}
            for name, drift in drifts.items()
        },
    }
