"""``leadline bench``: load the running platform and say where the time went."""

import asyncio
import json
import math
import os
import signal
import statistics
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from typing import Any

import click
import httpx
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from leadline.client import Client, ProblemError
from leadline.demo.sample import MODEL, SAMPLE_INSTANCE
from leadline.load.account import (
    Part,
    Sample,
    began_anew,
    bottleneck,
    cpu_seconds,
    machine_seconds,
    parts_of,
    processes_of,
    read_sample,
    rows_per_batch,
)
from leadline.load.generator import Outcome, run_load
from leadline.state import SERVICES, StateDir, state_option

KEPT_UP = 0.98
"""Of the rate asked for."""
INTERRUPTED = 130
"""The exit code of what SIGINT ended (128 and the signal's number, as shells have it)."""


@click.command()
@state_option
@click.option("--model", default=MODEL, show_default=True, help="Whom to ask.")
@click.option("--instance", help="A JSON object; by default the demo's flight.")
@click.option("--rows", type=click.IntRange(1, 10_000), default=1, help="Instances a request.")
@click.option(
    "--seconds", type=click.FloatRange(0.2, 3600), default=10.0, show_default=True,
    help="How long to ask.",
)  # fmt: skip
@click.option(
    "--concurrency", type=click.IntRange(1, 1024), default=64, show_default=True,
    help="Callers that ask again when answered; with --rate the connections to use.",
)  # fmt: skip
@click.option(
    "--rate", type=click.FloatRange(min=0.1), help="Open loop: requests a second, come what may."
)
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def bench(
    state: StateDir,
    model: str,
    instance: str | None,
    rows: int,
    seconds: float,
    concurrency: int,
    rate: float | None,
    as_json: bool,
) -> None:
    """Load the running platform through its gateway; print throughput, latencies, where the time
    went, and the bottleneck.

    \b
    leadline bench                                  closed loop, 64 callers, 10 s
    leadline bench --concurrency 1                  latency of a lone caller
    leadline bench --rate 2000                      open loop: 2,000 requests a second

    Ctrl-C ends the load and prints what was measured until then.
    """
    if not math.isfinite(seconds) or not math.isfinite(rate or 0.0):
        raise click.UsageError("--seconds and --rate are finite numbers.")
    body = _body(model, instance, rows)
    console = Console(stderr=as_json, markup=False)
    _ask_once(state, body)
    report = asyncio.run(_measure(state, body, seconds, concurrency, rate, rows, console))
    if as_json:
        click.echo(json.dumps(report, indent=2))
    else:
        _print(console, report)
    if report["interrupted"]:
        sys.exit(INTERRUPTED)
    sys.exit(0 if report["answered_200"] else 1)


def _body(model: str, instance: str | None, rows: int) -> bytes:
    try:
        given = SAMPLE_INSTANCE if instance is None else json.loads(instance)
    except ValueError:
        given = None
    if not isinstance(given, dict):
        raise click.UsageError("--instance is a JSON object.")
    return json.dumps({"model": model, "instances": [given] * rows}).encode()


def _ask_once(state: StateDir, body: bytes) -> None:
    """Raises ``ProblemError`` for what would be refused however often it is asked."""
    with Client.from_state(state, key="demo_key") as client:
        try:
            client.send(
                "POST", "/predict", content=body, headers={"content-type": "application/json"}
            )
        except ProblemError as problem:
            if not problem.body.get("retryable"):
                raise


@contextmanager
def _until_ctrl_c() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C sets; a second one ends the command."""
    over, loop = threading.Event(), asyncio.get_running_loop()

    def stop() -> None:
        over.set()
        loop.remove_signal_handler(signal.SIGINT)

    loop.add_signal_handler(signal.SIGINT, stop)
    try:
        yield over
    finally:
        loop.remove_signal_handler(signal.SIGINT)


async def _measure(
    state: StateDir,
    body: bytes,
    seconds: float,
    concurrency: int,
    rate: float | None,
    rows: int,
    console: Console,
) -> dict[str, Any]:
    endpoints, key = state.read_endpoints(), state.read_credentials()["demo_key"]
    url = endpoints["gateway"] + "/predict"
    pids = {"load generator": os.getpid(), **_pids(state)}
    columns = BarColumn(), TextColumn("{task.fields[now]}"), TimeRemainingColumn()
    with (
        Progress(TextColumn("{task.description}"), *columns, console=console) as bar,
        _until_ctrl_c() as over,
    ):
        load = partial(run_load, url, key, [body], concurrency=concurrency, over=over)
        task = bar.add_task("warming up", total=1.0, now="")

        def show(share: float, outcome: Outcome) -> None:
            done = sum(outcome.statuses.values())
            bar.update(task, completed=share, now=f"{done:,} answers")

        try:
            await load(seconds=min(1.0, seconds))
        except OSError:
            raise click.ClickException(f"Nothing listens at {url}; is the platform up?") from None
        if over.is_set():
            console.print("Nothing was measured yet: interrupted while warming up.")
            raise click.exceptions.Exit(INTERRUPTED)
        bar.update(task, description="loading")
        before, cpu, machine = await _scrape(endpoints), cpu_seconds(pids), machine_seconds()
        outcome = await load(seconds=seconds, rate=rate, progress=show)
        cpu_after, machine_after = cpu_seconds(pids), machine_seconds()
        after = await _scrape(endpoints)
        if not over.is_set():
            bar.update(task, completed=1.0)
    if rate and not (outcome.statuses or outcome.dropped or outcome.broken or over.is_set()):
        detail = f"At {rate:g} requests a second none was due within {seconds:g} s"
        raise click.ClickException(f"{detail}; give --seconds {math.ceil(10 / rate)}.")
    report = _report(outcome, rate, concurrency, rows, before, after)
    report["interrupted"] = over.is_set()
    report["hung_up"] = outcome.seconds < seconds and not over.is_set()
    busy_s, whole_s = (now - then for now, then in zip(machine_after, machine, strict=True))
    return _judged(report, outcome, rate, cpu, cpu_after, busy_s / whole_s if whole_s else 0.0)


def _report(
    outcome: Outcome,
    rate: float | None,
    concurrency: int,
    rows: int,
    before: Sample,
    after: Sample,
) -> dict[str, Any]:
    client_ms = statistics.fmean(outcome.latencies_s) * 1000 if outcome.latencies_s else 0.0
    anew = began_anew(before, after)
    return {
        "kind": "closed loop" if rate is None else f"open loop at {rate:g}/s",
        "concurrency": concurrency,
        "seconds": round(outcome.seconds, 4),
        "requests_per_s": round(outcome.requests_per_s, 1),
        "rows_per_s": round(outcome.goodput_per_s * rows, 1),
        "answered_200": outcome.statuses[200],
        "statuses": {str(status): count for status, count in outcome.statuses.items()},
        "dropped": outcome.dropped,
        "broken": outcome.broken,
        "latency_ms": quantiles(outcome.latencies_s),
        "refusal_ms": quantiles(outcome.refused_s),
        "latency_from_sent_ms": quantiles(outcome.latencies_from_sent_s),
        "refusal_from_sent_ms": quantiles(outcome.refused_from_sent_s),
        # A closed loop sends what is due at once: nothing there is late.
        "sent_late_ms": {} if rate is None else quantiles(outcome.sent_late_s),
        "restarted": anew,
        "rows_per_batch": 0.0 if anew else round(rows_per_batch(before, after), 1),
        "parts": []
        if anew or not outcome.latencies_s
        else [asdict(p) for p in parts_of(before, after, client_ms)],
    }


def _judged(
    report: dict[str, Any],
    outcome: Outcome,
    rate: float | None,
    cpu: dict[str, float],
    cpu_after: dict[str, float],
    machine_share: float,
) -> dict[str, Any]:
    requests = sum(outcome.statuses.values())
    processes = processes_of(cpu, cpu_after, outcome.seconds, requests)
    kept_up = rate is not None and outcome.statuses[200] >= KEPT_UP * outcome.due
    late_s, all_s = sum(outcome.sent_late_s), sum(outcome.latencies_s) + sum(outcome.refused_s)
    parts = [Part(**part) for part in report["parts"]]
    return {
        **report,
        "processes": [asdict(process) for process in processes],
        "machine_share": round(machine_share, 3),
        "bottleneck": bottleneck(
            processes,
            parts,
            machine_share,
            cores=os.cpu_count() or 1,
            kept_up=kept_up,
            late_share=late_s / all_s if rate is not None and all_s else 0.0,
        )
        if outcome.latencies_s
        else "not looked for: no request was answered with 200",
    }


def quantiles(latencies_s: Sequence[float]) -> dict[str, float]:
    """p50, p90, p99, p99.9 and the largest, in milliseconds; empty for none."""
    if not latencies_s:
        return {}
    ordered = sorted(latencies_s)
    marks = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999, "max": 1.0}
    last = len(ordered) - 1
    return {name: round(ordered[round(share * last)] * 1000, 3) for name, share in marks.items()}


def _pids(state: StateDir) -> dict[str, int]:
    names = ("redis", *SERVICES)
    files = {name: state.run_dir / f"{name}.pid" for name in names}
    return {name: int(file.read_text()) for name, file in files.items() if file.exists()}


async def _scrape(endpoints: dict[str, str]) -> Sample:
    async with httpx.AsyncClient(trust_env=False, timeout=5.0) as client:
        pages = [
            await client.get(endpoints[name] + "/metrics") for name in ("gateway", "inference")
        ]
    return read_sample([page.text for page in pages])


def _marks(quantiles_ms: dict[str, float]) -> str:
    return "  ".join(f"{name} {ms:.2f}" for name, ms in quantiles_ms.items())


def _rate(per_s: float) -> str:
    return f"{per_s:,.0f}" if per_s >= 10 else f"{per_s:g}"


def _print(console: Console, report: dict[str, Any]) -> None:
    console.print(f"\n{report['kind']}, {report['concurrency']} connections")
    if report["interrupted"]:
        console.print(f"  interrupted after {report['seconds']:g} s", style="bold yellow")
    elif report["hung_up"]:
        ended = f"  ended after {report['seconds']:g} s: the gateway closed every connection"
        console.print(ended, style="bold yellow")
    answers = ", ".join(f"{n:,} answers {status}" for status, n in report["statuses"].items())
    console.print(f"  {_rate(report['requests_per_s'])} requests/s", style="bold", end="")
    console.print(f"   {_rate(report['rows_per_s'])} rows/s   {answers}")
    console.print(f"  latency ms: {_marks(report['latency_ms'])}")
    if report["refusal_ms"]:
        console.print(f"  refusals ms: {_marks(report['refusal_ms'])}")
    if report["sent_late_ms"].get("max"):
        # An open loop counts from when a request was due; this part is the generator's.
        console.print(f"  of that, sent late ms: {_marks(report['sent_late_ms'])}")
    if report["dropped"] or report["broken"]:
        console.print(f"  never sent: {report['dropped']}   broken: {report['broken']}")
    if report["restarted"]:
        console.print("  a service was started again meanwhile: where the time went is not known")
    where = Table("where the mean request's time went", "ms", box=None)
    for part in report["parts"]:
        where.add_row(part["name"], f"{part['ms']:.3f}")
    if report["parts"]:
        console.print(where)
    used = Table("process", "cores", "CPU µs a request", box=None)
    for process in report["processes"]:
        used.add_row(process["name"], f"{process['cores']:.2f}", f"{process['us_per_request']:.1f}")
    console.print(used)
    console.print(f"  {report['rows_per_batch']} rows a batch in inference")
    console.print(f"  bottleneck: {report['bottleneck']}", style="bold")
