"""One baseline of a world on one core: clean runs, and the shifts that are played on them."""

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

from bench.detection.simulation import (
    WARM_DAYS,
    Trace,
    build_case,
    run_clean,
    run_shift,
    tickets_of,
)
from bench.detection.worlds import Shift, World

SHIFT_DAYS = 14
Raised = list[set[str]]


@dataclass(frozen=True, slots=True)
class Task:
    """The baseline ``number`` of a world, watched by ``each`` runs of ``days`` days."""

    world: World
    columns: int
    number: int
    each: int
    days: int
    shifts: tuple[Shift, ...] = ()


@dataclass(frozen=True, slots=True)
class Watched:
    """One run: clean days with the tickets raised on them, and the same with each shift. Traces
    come without their judgements, which are large."""

    trace: Trace
    raised: Raised
    shifted: list[tuple[Trace, Raised]]


def workers() -> ProcessPoolExecutor:
    """A process a core, each with one thread: the arrays are too small to be shared out."""
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # read when the workers import numpy
    return ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn"))


def watch(task: Task) -> list[Watched]:
    """All runs of one baseline; the same for the same task wherever it is done."""
    case = build_case(task.world, task.columns, 1000 * task.columns + task.number)
    found = []
    for run in range(task.each):
        seed = 100_000 * task.columns + 100 * task.number + run
        trace = run_clean(case, seed, task.days, task.days)
        raised = tickets_of(trace, task.days)
        del trace.drifts[WARM_DAYS + SHIFT_DAYS :]
        shifted = []
        for shift in task.shifts:
            broken = run_shift(case, trace, seed, shift, SHIFT_DAYS)
            tickets = tickets_of(broken, len(broken.z))
            broken.drifts.clear()
            shifted.append((broken, tickets))
        trace.drifts.clear()
        found.append(Watched(trace, raised, shifted))
    return found
