"""What is counted of served rows, hour by hour: column counts at the baseline, and volumes.

An hour is a vector of integers and a vector of sums; both only ever get added.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from contracts.profile import BaselineProfile, CategoricalProfile
from contracts.served import CACHED, DEGRADED, EXPLORED, OUTCOMES, STATUSES
from monitor.domain import outputs
from monitor.domain.edges import Floats, Ints
from monitor.domain.reference import Reference, reference_of
from monitor.domain.rows import HOUR_US, Rows
from monitor.domain.windows import ColumnCounts, count_column, empty

PREDICTION, CONFIDENCE = "@prediction", "@confidence"
"""Names of the two output columns; no input column may start with @."""

CLASSES_MAX = 16
LATENCY_EDGES_US = np.round(100 * 2 ** (np.arange(64) / 3)).astype(np.int64)
"""Upper edges of the latency counts: a third of an octave apart, from 0.1 ms to 211 s."""
SATURATED = 0.999

_ANSWERED = (OUTCOMES.index("ok"), OUTCOMES.index("nan_answer"))
_COMPUTED = (*_ANSWERED, OUTCOMES.index("model_error"))
_UNAVAILABLE = STATUSES.index("UNAVAILABLE")


@dataclass(frozen=True, slots=True)
class Cell:
    """Additive counts: ``integers`` int64, ``sums`` float64."""

    integers: Ints
    sums: Floats

    def __add__(self, other: "Cell") -> "Cell":
        return Cell(self.integers + other.integers, self.sums + other.sums)


CellKey = tuple[int, str]
"""Hour (event time // 3600 s) and segment (``column=value``; empty: all rows)."""


class Layout:
    """Where each column's counts lie in a cell of one model version."""

    def __init__(
        self, baseline_sha: str, profile: BaselineProfile, segment_columns: Sequence[str],
        segments_per_column_max: int,
    ) -> None:  # fmt: skip
        self.baseline_sha = baseline_sha
        self.profile = profile
        columns = dict(profile.columns)
        if profile.prediction is not None:
            columns[PREDICTION] = profile.prediction
        if profile.confidence is not None:
            columns[CONFIDENCE] = profile.confidence
        self.references = {name: reference_of(column) for name, column in columns.items()}
        self._spans: dict[str, tuple[int, int]] = {}
        at = 0
        for name, reference in self.references.items():
            width = len(empty(reference).integers)
            self._spans[name] = (at, at + width)
            at += width
        self.width = at
        self.segments = _segments(profile, segment_columns, segments_per_column_max)

    def empty(self) -> Cell:
        """An hour in which nothing was served."""
        return Cell(np.zeros(self.width, np.int64), np.zeros(2 * len(self._spans)))

    def column(self, cell: Cell, name: str) -> ColumnCounts:
        """The counts of one column."""
        at = 2 * list(self._spans).index(name)
        first, last = self._spans[name]
        return ColumnCounts(cell.integers[first:last], cell.sums[at : at + 2])

    def fold(self, rows: Rows) -> dict[CellKey, Cell]:
        """Counts of served rows, by hour and segment."""
        found: dict[CellKey, Cell] = {}
        computed = rows.only(np.isin(rows.outcome, _COMPUTED))
        for hour, segment, part in _split(computed, self.segments):
            cell = self._count(part, (hour // 24 + 3) % 7)
            found[hour, segment] = cell
        return found

    def _count(self, rows: Rows, weekday: int) -> Cell:
        integers, sums = [], []
        for name, reference in self.references.items():
            counts = _count_one(name, reference, rows, weekday)
            integers.append(counts.integers)
            sums.append(counts.sums)
        return Cell(np.concatenate(integers), np.concatenate(sums))


def _count_one(name: str, reference: Reference, rows: Rows, weekday: int) -> ColumnCounts:
    if name in (PREDICTION, CONFIDENCE):
        values = rows.score if name == PREDICTION else rows.confidence
        answered = np.isin(rows.outcome, _ANSWERED)
        values = values[answered]
        # A NaN among answers is a NaN that came as a value, not a null.
        return count_column(reference, values, np.zeros(len(values), np.uint8), weekday)
    if name in rows.numbers:
        return count_column(reference, rows.numbers[name], rows.statuses[name], weekday)
    if name in rows.strings:
        return count_column(reference, rows.strings[name], rows.statuses[name], weekday)
    # The version no longer gets this column: every row of it is missing.
    gone = np.full(len(rows), _UNAVAILABLE, np.uint8)
    return count_column(reference, np.full(len(rows), np.nan), gone, weekday)


def _segments(
    profile: BaselineProfile, wanted: Sequence[str], per_column_max: int
) -> dict[str, tuple[str, ...]]:
    """Segment columns and their values: those wanted, or text columns with few values."""
    found: dict[str, tuple[str, ...]] = {}
    for name, column in profile.columns.items():
        if not isinstance(column, CategoricalProfile):
            continue
        values = tuple(sorted(column.categories, key=lambda v: -column.categories[v]))
        textual = not all(value.lstrip("-").replace(".", "", 1).isdigit() for value in values)
        few = 2 <= len(values) <= per_column_max
        if name in wanted or (not wanted and textual and few):
            found[name] = values[:per_column_max]
    return found


def _split(rows: Rows, segments: Mapping[str, tuple[str, ...]]) -> Iterator[tuple[int, str, Rows]]:
    hours = rows.event_us // HOUR_US
    for hour in np.unique(hours).tolist():
        of_hour = rows.only(hours == hour)
        yield hour, "", of_hour
        for name, values in segments.items():
            if name not in of_hour.strings:
                continue
            column = of_hour.strings[name]
            for value in values:
                kept = column == value
                if kept.any():
                    yield hour, f"{name}={value}", of_hour.only(kept)


def segment_labels(rows: Rows, layout: Layout | None) -> list[str]:
    """For each row its segments, joined by ``|`` with one at both ends (empty: none)."""
    if layout is None or not layout.segments:
        return [""] * len(rows)
    columns = [
        [f"{name}={value}" for value in rows.strings[name]]
        for name in layout.segments
        if name in rows.strings
    ]
    return [f"|{'|'.join(parts)}|" for parts in zip(*columns, strict=True)] or [""] * len(rows)


_VOLUME_INTS = (
    "rows", *OUTCOMES, "cached", "explored", "degraded", "saturated", "changes", "unclassed",
)  # fmt: skip
_VOLUME_SUMS = ("latency_us", "score", "entropy", "weight", "weight_squares")
_CLASSES_AT = len(_VOLUME_INTS)
_LATENCY_AT = _CLASSES_AT + CLASSES_MAX
_VOLUME_WIDTH = _LATENCY_AT + len(LATENCY_EDGES_US) + 1


@dataclass(frozen=True, slots=True)
class Volume:
    """Counts of one lane's rows in one hour, whatever its baseline."""

    cell: Cell

    def count(self, name: str) -> int:
        """rows, an outcome, cached, explored, degraded, saturated (confidence >= 0.999) or
        changes (answers that differ from the one before)."""
        return int(self.cell.integers[_VOLUME_INTS.index(name)])

    def total(self, name: str) -> float:
        """Sum of latency_us, score, entropy (nats), weight (1 / propensity), weight_squares."""
        return float(self.cell.sums[_VOLUME_SUMS.index(name)])

    @property
    def classes(self) -> Ints:
        """Rows by predicted class [CLASSES_MAX]."""
        return self.cell.integers[_CLASSES_AT:_LATENCY_AT]

    @property
    def latencies(self) -> Ints:
        """Rows at ``LATENCY_EDGES_US`` [edges + 1]."""
        return self.cell.integers[_LATENCY_AT:]

    def __add__(self, other: "Volume") -> "Volume":
        return Volume(self.cell + other.cell)


def no_volume() -> Volume:
    """Nothing served."""
    return Volume(Cell(np.zeros(_VOLUME_WIDTH, np.int64), np.zeros(len(_VOLUME_SUMS))))


def fold_volumes(rows: Rows) -> dict[int, Volume]:
    """Volumes by hour."""
    hours = rows.event_us // HOUR_US
    return {hour: _volume(rows.only(hours == hour)) for hour in np.unique(hours).tolist()}


def _volume(rows: Rows) -> Volume:
    ok = rows.outcome == 0
    score, confidence = rows.score[ok], rows.confidence[ok]
    classes = rows.predicted[ok]
    known = (classes >= 0) & (classes < CLASSES_MAX)
    integers = np.zeros(_VOLUME_WIDTH, np.int64)
    integers[0] = len(rows)
    integers[1 : 1 + len(OUTCOMES)] = np.bincount(rows.outcome, minlength=len(OUTCOMES))[
        : len(OUTCOMES)
    ]
    integers[1 + len(OUTCOMES) : _CLASSES_AT] = [
        *(int(np.count_nonzero(rows.flags & bit)) for bit in (CACHED, EXPLORED, DEGRADED)),
        int(np.count_nonzero(confidence >= SATURATED)),
        int(np.count_nonzero(np.diff(score) != 0)),
        int(np.count_nonzero(~known)),
    ]
    integers[_CLASSES_AT:_LATENCY_AT] = np.bincount(classes[known], minlength=CLASSES_MAX)
    at = np.searchsorted(LATENCY_EDGES_US, rows.latency_us, side="left")
    integers[_LATENCY_AT:] = np.bincount(at, minlength=len(LATENCY_EDGES_US) + 1)
    weight = 1 / np.maximum(rows.propensity[ok], 1e-6)
    sums = [
        rows.latency_us.sum(), np.nansum(score), _entropy(score), weight.sum(),
        np.square(weight).sum(),
    ]  # fmt: skip
    return Volume(Cell(integers, np.array(sums, dtype=np.float64)))


def _entropy(score: npt.NDArray[np.float64]) -> float:
    inside = score[(score > 0) & (score < 1)]
    return float(-(inside * np.log(inside) + (1 - inside) * np.log1p(-inside)).sum())


def volume_facts(volume: Volume) -> dict[str, Any]:
    """The counts of a window for people, with latency quantiles in milliseconds (upper edges)."""
    names = (*OUTCOMES, "cached", "explored", "degraded", "saturated", "changes")
    facts: dict[str, Any] = {name: volume.count(name) for name in names}
    upto = np.cumsum(volume.latencies)
    for quantile in (50, 95, 99):
        at = int(np.searchsorted(upto, upto[-1] * quantile / 100))
        known = upto[-1] > 0 and at < len(LATENCY_EDGES_US)
        facts[f"latency_p{quantile}_ms"] = float(LATENCY_EDGES_US[at]) / 1000 if known else None
    ok = volume.count("ok")
    return {
        **facts,
        "classes": volume.classes.tolist(),
        "mode_share": outputs.mode_share(volume.classes),
        "decision_entropy": outputs.entropy(volume.classes),
        "score_entropy": volume.total("entropy") / ok if ok else None,
    }
