"""Twice as much as the platform can do: what is still answered, and how fast the rest is refused.

The platform is asked for a while first: what it does after its start (the registry loads MLflow for
seconds) is no overload. Capacity is what a closed loop gets answered with enough callers to keep
everything busy, the better of two numbers of callers, measured right before each overload. The
overload is an open loop at twice that rate; every request names its deadline. Latencies count from
when a request was due; how late the generator sent is told apart, since it shares the cores: *from
sent* is the platform's.
"""

import asyncio
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.record import record
from bench.serving import fill, our_platform
from bench.serving_model import MODEL, USERS, make_rows, train
from bench.serving_shapes import ROWS, batch_body, single_bodies, target_of
from leadline.load.generator import Outcome, run_load
from leadline.state import StateDir

OVERLOAD = 2.0
CALLERS = (64, 256)
CONNECTIONS = 1000
"""Fewer than one caller may have in flight (1,024): beyond that it is refused whatever the load."""
TIMEOUT_MS = 500


@dataclass(frozen=True, slots=True)
class Round:
    """A capacity, and the overload that was measured after it."""

    capacity: float
    overload: Outcome


def main(*, quick: bool) -> None:
    """Measure and record."""
    rounds, seconds = (1, 2.0) if quick else (5, 12.0)
    rows = make_rows(USERS)
    bodies = {
        f"{ROWS} rows": [batch_body(MODEL, rows, at) for at in range(0, USERS - ROWS, ROWS)],
        "1 row": single_bodies(MODEL, rows),
    }
    with tempfile.TemporaryDirectory(prefix="leadline-bench") as name:
        folder = Path(name)
        train(folder / "model.onnx")
        with our_platform(folder / "state") as state:
            fill(state, folder / "model.onnx")
            measured = asyncio.run(_measure(state, bodies, rounds, seconds))
    _report(measured, quick=quick)


async def _measure(
    state: StateDir, bodies: dict[str, list[str]], rounds: int, seconds: float
) -> dict[str, list[Round]]:
    url, key = target_of(state)
    warm = [text.encode() for text in next(iter(bodies.values()))]
    await run_load(url, key, warm, seconds=seconds, concurrency=CALLERS[0])
    measured: dict[str, list[Round]] = {shape: [] for shape in bodies}
    for _ in range(rounds):
        for shape, texts in bodies.items():
            asked = [text.encode() for text in texts]
            closed = [
                await run_load(url, key, asked, seconds=seconds / 3, concurrency=callers)
                for callers in CALLERS
            ]
            capacity = max(run.goodput_per_s for run in closed)
            overload = await run_load(
                url, key, asked, seconds=seconds, concurrency=CONNECTIONS,
                rate=capacity * OVERLOAD, timeout_ms=TIMEOUT_MS,
            )  # fmt: skip
            measured[shape].append(Round(capacity, overload))
            print(f"  {shape}: {capacity:.0f}/s, {dict(overload.statuses)}", flush=True)
            await asyncio.sleep(1.0)
    return measured


def quantile_ms(seconds: Sequence[float], share: float) -> float | None:
    """Of all values together, in milliseconds; None for none."""
    ordered = sorted(seconds)
    return ordered[int(len(ordered) * share)] * 1000 if ordered else None


def figures_of(rounds: Sequence[Round]) -> dict[str, object]:
    """What one shape's rounds say, together."""
    runs = [each.overload for each in rounds]
    refused = [value for run in runs for value in run.refused_s]
    refused_sent = [value for run in runs for value in run.refused_from_sent_s]
    late = [value for run in runs for value in run.sent_late_s]
    answered = [value for run in runs for value in run.latencies_s]
    statuses = sum((run.statuses for run in runs), start=type(runs[0].statuses)())
    return {
        "capacity_per_s": statistics.median(each.capacity for each in rounds),
        "sent_per_s": statistics.median(run.requests_per_s for run in runs),
        "goodput_share": statistics.median(
            each.overload.goodput_per_s / each.capacity for each in rounds
        ),
        "refusal_from_due_p50_ms": quantile_ms(refused, 0.5),
        "refusal_from_due_p95_ms": quantile_ms(refused, 0.95),
        "refusal_from_due_p99_ms": quantile_ms(refused, 0.99),
        "refusal_from_due_p99_of_rounds_ms": [
            round(quantile_ms(run.refused_s, 0.99) or 0, 1) for run in runs
        ],
        "goodput_share_of_rounds": [
            round(each.overload.goodput_per_s / each.capacity, 2) for each in rounds
        ],
        "refusal_from_sent_p50_ms": quantile_ms(refused_sent, 0.5),
        "refusal_from_sent_p99_ms": quantile_ms(refused_sent, 0.99),
        "generator_late_p50_ms": quantile_ms(late, 0.5),
        "generator_late_p99_ms": quantile_ms(late, 0.99),
        "answered_from_due_p99_ms": quantile_ms(answered, 0.99),
        "statuses": {str(status): count for status, count in sorted(statuses.items())},
        "never_sent": sum(run.dropped for run in runs),
        "broken": sum(run.broken for run in runs),
    }


def _report(measured: dict[str, list[Round]], *, quick: bool) -> None:
    figures = {shape: figures_of(rounds) for shape, rounds in measured.items()}
    names = list(next(iter(figures.values())))
    table = [
        {"figure": name, **{shape: _shown(found[name]) for shape, found in figures.items()}}
        for name in names
    ]
    record(
        "overload",
        quick=quick,
        figures=figures,
        tables={f"open loop at {OVERLOAD:g} times the capacity": table},
        notes=[
            f"capacity: closed loop, {CALLERS[0]} or {CALLERS[1]} callers, right before each run",
            f"every request is due within {TIMEOUT_MS} ms; {CONNECTIONS} connections",
            "from due: the headline, with the generator's own lateness in it; from sent: without",
            "the generator is a process of its own on the same cores",
        ],
    )


def _shown(value: object) -> object:
    return value if isinstance(value, float) else str(value)
