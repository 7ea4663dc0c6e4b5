"""Where the time of a load went, from the services' own counters and the system's."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

STAGES = ("queue", "features", "compute", "post_processing", "record")
FULL_CORE = 0.9
"""A single-threaded process above this share of a core can do no more."""
FULL_MACHINE = 0.93
LATE_SHARE_MAX = 0.5

Sample = dict[tuple[str, tuple[tuple[str, str], ...]], float]


@dataclass(frozen=True, slots=True)
class Part:
    """A layer of the answer and what it took of the mean request, in milliseconds."""

    name: str
    ms: float


@dataclass(frozen=True, slots=True)
class Process:
    """What one process used during the load."""

    name: str
    cores: float
    us_per_request: float


def read_sample(expositions: Sequence[str]) -> Sample:
    """The values of every series of these ``/metrics`` pages."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for text in expositions
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def grown(before: Sample, after: Sample, name: str, **labels: str) -> float:
    """By how much the series of that name and labels grew, together."""
    wanted = set(labels.items())
    return sum(
        value - before.get(series, 0.0)
        for series, value in after.items()
        if series[0] == name and wanted <= set(series[1])
    )


def began_anew(before: Sample, after: Sample) -> bool:
    """Whether a counter fell: its process was started again, and what it did before is not told."""
    return any(
        after.get(series, value) < value
        for series, value in before.items()
        if series[0].endswith(("_total", "_count"))
    )


def parts_of(before: Sample, after: Sample, client_ms: float) -> list[Part]:
    """The mean request taken apart; ``client_ms`` is what the caller saw of it."""

    def mean_ms(name: str, less: str = "", **labels: str) -> float:
        count = grown(before, after, f"{name}_count", **labels)
        seconds = grown(before, after, f"{name}_sum", **labels)
        if less:
            seconds -= grown(before, after, f"{less}_sum")
        return 1000 * seconds / count if count else 0.0

    # What the gateway refuses takes no hop: its own time is what the hops leave of all its time.
    own_ms = mean_ms("gateway_predict_seconds", less="gateway_upstream_seconds")
    hop_ms = mean_ms("gateway_upstream_seconds")
    inference_ms = mean_ms("inference_request_duration_seconds")
    stages = {stage: mean_ms("inference_stage_duration_seconds", stage=stage) for stage in STAGES}
    rest_ms = inference_ms - sum(stages.values())
    return [
        Part("network and client", client_ms - own_ms - hop_ms),
        Part("gateway: key, limit, envelope", own_ms),
        Part("gateway to inference and back", hop_ms - inference_ms),
        *(Part(f"inference: {stage.replace('_', '-')}", ms) for stage, ms in stages.items()),
        Part("inference: waiting for the batch before, answering", rest_ms),
    ]


def rows_per_batch(before: Sample, after: Sample) -> float:
    """The mean batch of inference."""
    batches = grown(before, after, "inference_batch_rows_count")
    return grown(before, after, "inference_batch_rows_sum") / batches if batches else 0.0


def processes_of(
    before_s: Mapping[str, float], after_s: Mapping[str, float], seconds: float, requests: int
) -> list[Process]:
    """Processor time by process, the busiest first."""
    used = {name: after_s[name] - before_s.get(name, 0.0) for name in after_s}
    found = [
        Process(name, cpu_s / seconds, cpu_s / max(requests, 1) * 1e6)
        for name, cpu_s in used.items()
    ]
    return sorted(found, key=lambda process: -process.cores)


def cpu_seconds(pids: Mapping[str, int]) -> dict[str, float]:
    """Processor time of each process until now (Linux; empty elsewhere)."""
    tick = os.sysconf("SC_CLK_TCK")
    found = {}
    for name, pid in pids.items():
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        found[name] = (int(fields[11]) + int(fields[12])) / tick
    return found


def machine_seconds() -> tuple[float, float]:
    """(busy, all) processor seconds of the machine until now (Linux; zeros elsewhere)."""
    try:
        fields = [int(n) for n in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
    except OSError:
        return 0.0, 0.0
    tick = os.sysconf("SC_CLK_TCK")
    return (sum(fields) - fields[3] - fields[4]) / tick, sum(fields) / tick


def bottleneck(
    processes: Sequence[Process],
    parts: Sequence[Part],
    machine_share: float,
    *,
    cores: int,
    kept_up: bool,
    late_share: float = 0.0,
) -> str:
    """One sentence: what would have to be faster for more. ``late_share`` is how much of the mean
    latency passed before the request was sent."""
    if kept_up:
        return "none: the platform kept up with the rate asked for"
    full = [process for process in processes if process.cores >= FULL_CORE]
    if full and full[0].name == "load generator":
        return "the load generator of this command; the platform could do more (try wrk)"
    if full:
        return f"the {full[0].name} process: it fills its core ({full[0].cores:.0%})"
    if machine_share >= FULL_MACHINE and processes:
        most = processes[0]
        others = machine_share * cores - sum(process.cores for process in processes)
        if others > most.cores:
            return (
                f"other programs on this machine: its processors are full, {others:.1f} of theirs"
            )
        return f"the machine's processors, all busy; most goes to {most.name} ({most.cores:.0%})"
    if late_share > LATE_SHARE_MAX:
        return (
            f"the connections of this command: {late_share:.0%} of the time requests waited for a "
            "free one; give more --concurrency"
        )
    slowest = max(parts, key=lambda part: part.ms, default=None)
    if slowest is None or slowest.ms <= 0:
        return "not found: the platform's counters did not move"
    return f"no processor is full; most time passes in: {slowest.name} ({slowest.ms:.2f} ms)"
