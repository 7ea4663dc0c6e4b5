"""A line a step, with its elapsed time, so that whoever waits knows for what."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Steps:
    """Prints ``  12.3 s  what was done`` for each step; also usable as a plain callable."""

    def __init__(self, began_s: float | None = None) -> None:
        self.began_s = time.monotonic() if began_s is None else began_s
        """By the machine's monotonic clock, which all processes share."""

    def __call__(self, message: str) -> None:
        print(f"{self.total_s():7.1f} s  {message}", flush=True)

    def total_s(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self.began_s

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        """Print ``what`` with the time it took, when it is done."""
        began = time.monotonic()
        if sys.stdout.isatty():
            print(f"           {what} …", end="\r", flush=True)
        yield
        print(f"{self.total_s():7.1f} s  {what} ({time.monotonic() - began:.1f} s)", flush=True)
