"""Prometheus instruments, and the vital signs that every process exports."""

import asyncio
import math
import os
import time
from pathlib import Path

from prometheus_client import CollectorRegistry, Gauge, PlatformCollector, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

REGISTRY = CollectorRegistry(auto_describe=True)
"""The instruments of this process. ``<service>/metrics.py`` registers here, by itself only."""

ProcessCollector(registry=REGISTRY)
PlatformCollector(registry=REGISTRY)

LATENCY_BUCKETS_S = (
    0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.125, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip
"""Buckets of every latency histogram, so that they may be added and compared."""

LOOP_LAG = Gauge(
    "event_loop_lag_seconds",
    "How late the event loop woke a sleeper, last seen.",
    registry=REGISTRY,
)


DISK_FREE = Gauge(
    "state_disk_free_share",
    "Free share of the disk on which the process keeps its state, 0 to 1.",
    registry=REGISTRY,
)


def watch_disk(folder: Path) -> None:
    """Export how full the disk of ``folder`` is, as it is when it is asked for."""
    DISK_FREE.set_function(lambda: free_share(folder))


def free_share(folder: Path) -> float:
    """What is left for us of the disk that ``folder`` is on, or will be when it is made; NaN where
    the system does not say."""
    try:
        disk = os.statvfs(next(one for one in (folder, *folder.parents) if one.exists()))
    except (OSError, StopIteration):
        return math.nan
    room = disk.f_blocks - disk.f_bfree + disk.f_bavail  # as df: without what is kept for root
    return disk.f_bavail / room if room else math.nan


def exposition() -> tuple[bytes, str]:
    """The body and content type of ``/metrics``."""
    return generate_latest(REGISTRY), CONTENT_TYPE_LATEST


class LoopWatchdog:
    """Notices an event loop that is blocked: wakes every 250 ms and measures how late."""

    INTERVAL_S = 0.25
    LAG_S_MAX = 2.0

    def __init__(self) -> None:
        self._last = time.monotonic()

    async def run(self) -> None:
        """Watch for ever; run it under a ``TaskOwner``."""
        while True:
            before = time.monotonic()
            await asyncio.sleep(self.INTERVAL_S)
            self._last = time.monotonic()
            LOOP_LAG.set(max(0.0, self._last - before - self.INTERVAL_S))

    def missing(self) -> str | None:
        """Why the process is not ready, or None."""
        lag_s = time.monotonic() - self._last
        return f"the event loop was blocked for {lag_s:.1f} s" if lag_s > self.LAG_S_MAX else None
