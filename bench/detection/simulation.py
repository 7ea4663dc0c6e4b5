"""Runs the real domain code through simulated days: profile, count, judge, ticket."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bench.detection import rules
from bench.detection.worlds import Column, Shift, World, image, name_of
from contracts.profile import BaselineProfile
from monitor.domain import joint, tickets, windows
from monitor.domain.baseline import build_profile
from monitor.domain.drift import ColumnDrift, judge_column
from monitor.domain.edges import Floats, count, single
from monitor.domain.multiplicity import z_of
from monitor.domain.reference import CategoricalReference, Reference, reference_of

BASELINE_DAYS = 56
WARM_DAYS = 3
METHODS = ("ks", "evidently", "nannyml", "deequ")
JOINT = "(joint)"


@dataclass(frozen=True, slots=True)
class Case:
    """One published baseline, with what the other tools keep of the same rows."""

    world: World
    columns: int
    profile: BaselineProfile
    references: tuple[Reference, ...]
    histograms: tuple[rules.Histogram | None, ...]
    usual: Floats
    """Mean and σ of NannyML's distance over the reference days, [columns, 2]."""
    joint_map: joint.JointMap | None


@dataclass(slots=True)
class Trace:
    """What one run of days showed; arrays [days, columns] unless said otherwise."""

    z: Floats
    null_z: Floats
    outside_z: Floats
    joint_z: Floats
    """[days]."""
    scores: dict[str, Floats]
    gross: npt.NDArray[np.bool_]
    """Only set where the gross rule would hold on this day (q and lower bound)."""
    drifts: list[dict[str, ColumnDrift]]
    """Of the first days only, to be replayed with a broken column."""


def build_case(world: World, columns: int, seed: int) -> Case:
    """Draws a training sample of 56 days and publishes it."""
    rng = np.random.default_rng([seed, 0])
    days = [
        world.latent(day, world.rows_on(day, rng), columns, rng) for day in range(BASELINE_DAYS)
    ]
    day_of = np.repeat(np.arange(BASELINE_DAYS), [len(day) for day in days])
    latent = np.concatenate(days)
    table = {name_of(i): image(i, latent[:, i]) for i in range(columns)}
    # 1970-01-05 was a Monday.
    profile = build_profile("m", "raw", table, event_us=(day_of + 4) * 86_400_000_000)
    references = tuple(reference_of(profile.columns[name_of(i)]) for i in range(columns))
    histograms = tuple(_histogram(table[name_of(i)]) for i in range(columns))
    usual = np.array(
        [_usual(table[name_of(i)], day_of, references[i], histograms[i]) for i in range(columns)]
    )
    return Case(world, columns, profile, references, histograms, usual, joint.joint_map(profile))


def run_clean(case: Case, seed: int, days: int, keep: int) -> Trace:
    """Clean days; the judgements of the first ``keep`` are kept for shifts."""
    trace = _empty(days, case.columns)
    for day, latent in live_days(case, seed, days):
        table = {i: image(i, latent[:, i], int8=case.world.int8) for i in range(case.columns)}
        found = {name_of(i): _fill(trace, case, day, i, table[i]) for i in table}
        trace.joint_z[day] = joint_z(case, table)
        if day < keep:
            trace.drifts.append(found)
    return trace


def run_shift(case: Case, clean: Trace, seed: int, shift: Shift, days: int) -> Trace:
    """The same days with one column broken after the warm ones, for ``days`` days more."""
    end = WARM_DAYS + days
    trace = Trace(
        clean.z[:end].copy(),
        clean.null_z[:end].copy(),
        clean.outside_z[:end].copy(),
        clean.joint_z[:end].copy(),
        {name: values[:end].copy() for name, values in clean.scores.items()},
        clean.gross[:end].copy(),
        [dict(found) for found in clean.drifts[:end]],
    )
    at = shift.column
    for day, latent in live_days(case, seed, end):
        if day < WARM_DAYS:
            continue
        rng = np.random.default_rng([seed, day, 2])
        broken, null = shift.apply(latent[:, at], latent[:, 1], day - WARM_DAYS, rng)
        values: Column = image(at, broken, int8=case.world.int8)
        if null.any():
            values[null] = np.nan if values.dtype.kind == "f" else None
        trace.drifts[day][name_of(at)] = _fill(trace, case, day, at, values)
        if shift.correlation > 0:
            table = {i: image(i, latent[:, i]) for i in range(case.columns)}
            trace.joint_z[day] = joint_z(case, {**table, at: values})
    return trace


def live_days(case: Case, seed: int, days: int) -> Iterator[tuple[int, Floats]]:
    """Latent rows of each day, the same for the same seed whatever is done with them."""
    for day in range(days):
        rng = np.random.default_rng([seed, day, 1])
        yield day, case.world.latent(day, case.world.rows_on(day, rng), case.columns, rng)


def tickets_of(trace: Trace, days: int) -> list[set[str]]:
    """What ``monitor.domain.tickets`` raises on each day, at its defaults; a ticket restarts its
    column's track."""
    tracks = {name: tickets.Track() for name in trace.drifts[0]}
    whole = tickets.Track()
    raised: list[set[str]] = []
    for day in range(days):
        today = {
            finding.column
            for finding in tickets.judge_run(trace.drifts[day], tracks)
            if finding.ticket
        }
        found = joint.JointDrift(0, 0.0, 1.0, 1.0, float(trace.joint_z[day]), ())
        if tickets.judge_joint_run(found, whole, len(tracks)):
            today.add(JOINT)
            tickets.restart([whole])
        tickets.restart([tracks[name] for name in today - {JOINT}])
        raised.append(today)
    return raised


def joint_z(case: Case, table: Mapping[int, Column]) -> float:
    """Score of the joint check on a day's columns."""
    if case.joint_map is None:
        return 0.0
    rows = {name_of(i): values for i, values in table.items() if values.dtype.kind == "f"}
    found = joint.judge_joint(case.joint_map, joint.count_joint(case.joint_map, rows))
    return found.z if found is not None else 0.0


def _fill(trace: Trace, case: Case, day: int, column: int, values: Column) -> ColumnDrift:
    reference = case.references[column]
    window = windows.count_column(reference, values, weekday=day % 7)
    drift = judge_column(reference, window)
    finite = None
    if values.dtype.kind == "f":
        rounded = single(values)
        finite = rounded[np.isfinite(rounded)]
    scored = rules.score(reference, case.histograms[column], window, drift, finite)
    trace.z[day, column] = drift.z
    trace.null_z[day, column] = float(z_of(drift.null_p))
    trace.outside_z[day, column] = float(z_of(drift.outside_p))
    trace.gross[day, column] = drift.low > drift.floor
    usual, spread = case.usual[column]
    trace.scores["ks"][day, column] = scored.ks
    trace.scores["evidently"][day, column] = scored.evidently
    trace.scores["nannyml"][day, column] = (scored.nannyml - usual) / spread
    trace.scores["deequ"][day, column] = scored.deequ
    return drift


def _empty(days: int, columns: int) -> Trace:
    shape = (days, columns)
    return Trace(
        np.zeros(shape),
        np.zeros(shape),
        np.zeros(shape),
        np.zeros(days),
        {name: np.zeros(shape) for name in METHODS},
        np.zeros(shape, dtype=bool),
        [],
    )


def _histogram(values: Column) -> rules.Histogram | None:
    return rules.histogram_of(values.astype(np.float64)) if values.dtype.kind == "f" else None


def _usual(
    values: Column,
    day_of: npt.NDArray[np.int64],
    reference: Reference,
    histogram: rules.Histogram | None,
) -> tuple[float, float]:
    """Mean and σ of the Jensen-Shannon distance of the reference's own days."""
    found = []
    for day in range(BASELINE_DAYS):
        own = values[day_of == day]
        if histogram is not None:
            counts = count(own.astype(np.float64), histogram.edges)
            found.append(rules.jensen_shannon(histogram.shares, counts))
        else:
            window = windows.count_column(reference, own)
            assert isinstance(reference, CategoricalReference)
            found.append(rules.jensen_shannon(reference.shares, window.cells))
    return float(np.mean(found)), max(float(np.std(found)), 1e-9)
