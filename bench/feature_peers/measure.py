"""What every contestant prints: seconds, peak memory, rows, and a digest of the answer."""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def report(join: Callable[[], tuple[int, float]]) -> None:
    """Run ``join`` -> (rows, sum of the first feature) once and print a line of JSON."""
    before_mb = _peak_mb()
    began = time.perf_counter()
    rows, total = join()
    seconds = time.perf_counter() - began
    line: dict[str, Any] = {
        "seconds": seconds,
        "peak_mb": _peak_mb(),
        "imports_mb": before_mb,
        "rows": rows,
        "sum": total,
    }
    sys.stdout.write(json.dumps(line) + "\n")


def _peak_mb() -> float:
    # ru_maxrss would begin with what the parent had when it forked
    status = Path("/proc/self/status").read_text()
    return float(status.split("VmHWM:")[1].split()[0]) / 1024
