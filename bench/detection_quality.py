"""How well is drift found, and how often is wolf cried?

Simulated days go through the monitor's own domain code; the rules of other tools see the same
rows. Tables: false alarms on clean days by world, days to find graded shifts at each tool's
defaults and at a matched false-alarm rate, labels that flip, the level of the categorical test.
"""

import time
from concurrent.futures import Executor
from typing import Any

import numpy as np
from scipy import stats

from bench.detection import labels, verdicts
from bench.detection.pool import Task, watch, workers
from bench.detection.simulation import JOINT
from bench.detection.worlds import MAIN, SHIFTS, WORLDS, Shift, World, name_of
from bench.record import record
from monitor.domain import categories
from monitor.domain.cusum import limit_for

OURS = "Leadline"
Row = dict[str, Any]


class Runs:
    """Clean runs of one world: every baseline is watched by several runs of days. One task of the
    pool is one baseline, with the shifts that are played on its runs."""

    def __init__(
        self,
        pool: Executor,
        world: World,
        columns: int,
        size: tuple[int, int, int],
        wanted: tuple[Shift, ...] = (),
    ) -> None:
        baselines, each, self.days = size
        self.world, self.columns = world, columns
        tasks = [
            Task(world, columns, number, each, self.days, wanted) for number in range(baselines)
        ]
        found = list(pool.map(watch, tasks))
        self.watched = [one for runs in found for one in runs]
        self.group = [number for number, runs in enumerate(found) for _ in runs]
        self.traces = [one.trace for one in self.watched]

    def false_alarms(self) -> Row:
        """One row of the table of clean days."""
        row: Row = {
            "world": self.world.name,
            "columns": self.columns,
            "runs × days": f"{len(self.traces)} × {self.days}",
            OURS: self._rate([sum(map(bool, one.raised)) for one in self.watched]),
        }
        for method in verdicts.DEFAULTS:
            alarms = [verdicts.default_alarms(method, trace) for trace in self.traces]
            row[method] = self._rate([int(alarm.any(axis=1).sum()) for alarm in alarms])
        return row

    def _rate(self, days: list[int]) -> verdicts.Rate:
        return verdicts.rate_of([float(count) for count in days], self.group, self.days)


def main(*, quick: bool) -> None:
    """Every table; a quick run is a smoke test whose figures mean nothing."""
    began = time.perf_counter()
    wanted = SHIFTS[:6] if quick else SHIFTS
    clean: list[Row] = []
    chosen: Runs | None = None
    with workers() as pool:
        for world in WORLDS[:3] if quick else WORLDS:
            size = (2, 2, 18) if quick else (20, 10, 90) if world is MAIN else (20, 10, 20)
            runs = Runs(pool, world, 20, size, wanted if world is MAIN else ())
            clean.append(runs.false_alarms())
            print(f"{world.name}: {time.perf_counter() - began:.0f} s", flush=True)
            if world is MAIN:
                chosen = runs
        wide = (1, 2, 18) if quick else (10, 20, 8)
        clean.append(Runs(pool, MAIN, 100, wide).false_alarms())
    assert chosen is not None
    at_defaults, at_matched = shifts(chosen, wanted)
    record(
        "detection_quality",
        quick=quick,
        figures={"seconds": time.perf_counter() - began},
        tables={
            "Alarm days of one model in 90 clean days, at defaults [95 %]": _plain(clean),
            "Days to name the broken column (found within 14 days), at defaults": _plain(
                at_defaults
            ),
            "The same at one false alarm day in 90": _plain(at_matched),
            "Labels that flip: days to find, and false alarms in 90 clean days": labels.table(
                40 if quick else 400
            ),
            "Level of the categorical test at 5 % (target 3.5 to 6.5 %)": levels(
                500 if quick else 4000
            ),
        },
        notes=_notes(len(chosen.traces)),
    )


def shifts(runs: Runs, wanted: tuple[Shift, ...]) -> tuple[list[Row], list[Row]]:
    """Tables of delays, at defaults and at the matched rate."""
    limits = {
        "KS": ("ks", verdicts.matched_limit([trace.scores["ks"] for trace in runs.traces])),
        **{
            label: (key, verdicts.matched_limit([trace.scores[key] for trace in runs.traces]))
            for label, key in (
                ("Evidently", "evidently"),
                ("NannyML", "nannyml"),
                ("deequ robust", "deequ"),
            )
        },
    }
    ours = verdicts.matched_cusum(runs.traces)
    at_defaults: list[Row] = []
    at_matched: list[Row] = []
    for number, shift in enumerate(wanted):
        played = [one.shifted[number] for one in runs.watched]
        found = [trace for trace, _ in played]
        also = runs.columns if shift.correlation > 0 else None
        raised = [_alarms(tickets, runs.columns) for _, tickets in played]
        row: Row = {"shift": shift.name, OURS: verdicts.delay_of(raised, shift.column, also)}
        for method in verdicts.DEFAULTS[:6]:
            alarms = [verdicts.default_alarms(method, trace) for trace in found]
            row[method] = verdicts.delay_of(alarms, shift.column)
        at_defaults.append(row)
        alarms = [verdicts.cusum_alarms(trace, ours) for trace in found]
        row = {"shift": shift.name, OURS: verdicts.delay_of(alarms, shift.column, also)}
        for label, (key, limit) in limits.items():
            alarms = [trace.scores[key] > limit for trace in found]
            row[label] = verdicts.delay_of(alarms, shift.column)
        at_matched.append(row)
    return at_defaults, at_matched


def levels(runs: int) -> list[Row]:
    """True level of ours and of the usual one-sample test, which takes the baseline as known."""
    table: list[Row] = []
    for k in (2, 5, 20, 100):
        for ratio in (1, 5, 50):
            rng = np.random.default_rng(1000 * k + ratio)
            shares = 1.0 / np.arange(1, k + 1)
            shares /= shares.sum()
            live = rng.multinomial(2000, shares, size=runs).astype(np.float64)
            base = rng.multinomial(2000 * ratio, shares, size=runs).astype(np.float64)
            ours = np.array(
                [categories.two_sample(b, m).p < 0.05 for b, m in zip(base, live, strict=True)]
            )
            known = np.maximum(base, 0.5) / (2000 * ratio)
            statistic = (np.square(live - 2000 * known) / (2000 * known)).sum(axis=1)
            naive = stats.chi2.sf(statistic, k - 1) < 0.05
            table.append(
                {
                    "categories": k,
                    "baseline : live": f"{ratio} : 1",
                    OURS: f"{ours.mean():.1%}",
                    "one-sample chi-square": f"{naive.mean():.1%}",
                }
            )
    return table


def _alarms(raised: list[set[str]], columns: int) -> verdicts.Bools:
    alarms = np.zeros((len(raised), columns + 1), dtype=bool)
    names = [*(name_of(i) for i in range(columns)), JOINT]
    for day, today in enumerate(raised):
        alarms[day] = [name in today for name in names]
    return alarms


def _plain(rows: list[Row]) -> list[Row]:
    return [{key: str(value) for key, value in row.items()} for row in rows]


def _notes(cases: int) -> list[str]:
    return [
        (
            f"World of the shifts: {MAIN.name}, 20 columns, 2,000 rows a day, a baseline of "
            f"56 days; {cases} cases a cell, one broken column each."
        ),
        (
            f"{OURS} at defaults: gross rule, CUSUM (limit {limit_for(3 * 20):.2f}), joint check "
            "(monitor/domain/tickets.py). At the matched rate: CUSUM and joint check alone."
        ),
        (
            "The rules of other tools are re-implementations (bench/detection/rules.py); "
            "python -m bench ks_speed runs the packages themselves."
        ),
        (
            "Only the broken column is drawn anew in a shift; a change of correlation also runs "
            "the joint check anew, other shifts leave it on the clean rows, to our disadvantage."
        ),
    ]
