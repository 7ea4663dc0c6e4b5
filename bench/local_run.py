"""The local run: first start with the demo, second start, and how soon a killed child is back."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.record import record
from leadline.client import Client, PlatformAwayError, ProblemError
from leadline.demo.sample import MODEL, SAMPLE_INSTANCE
from leadline.state import SERVICES, StateDir

BACK_S_MAX = 60.0


def main(*, quick: bool) -> None:
    """Measure and record."""
    kills = 1 if quick else 5
    rows = []
    with tempfile.TemporaryDirectory(prefix="leadline-bench") as folder:
        state = StateDir(Path(folder) / "state")
        try:
            rows.append({"what": "first start with the demo, s", "value": _up(state)})
            _leadline("down", state)
            rows.append({"what": "second start, s", "value": _up(state)})
            with Client.from_state(state, key="demo_key", timeout_s=2.0) as client:
                for name in ("redis", *SERVICES):
                    back = max(_kill(state, client, name) for _ in range(kills))
                    rows.append({"what": f"answers after kill -9 of {name}, s", "value": back})
        finally:
            _leadline("down", state)
    record(
        "local_run",
        quick=quick,
        figures={str(row["what"]): row["value"] for row in rows},
        tables={"seconds": rows},
        notes=[f"after a kill: the longest of {kills}", "the environment was installed before"],
    )


def _up(state: StateDir) -> float:
    began = time.monotonic()
    _leadline("up", state, "--demo", "--detach")
    return time.monotonic() - began


def _leadline(command: str, state: StateDir, *options: str) -> None:
    line = [sys.executable, "-m", "leadline", command, "--state", str(state.root), *options]
    subprocess.run(line, check=True, stdout=subprocess.DEVNULL)


def _kill(state: StateDir, client: Client, name: str) -> float:
    pid_file = state.run_dir / f"{name}.pid"
    killed = pid_file.read_text()
    os.kill(int(killed), signal.SIGKILL)
    began = time.monotonic()
    while time.monotonic() - began < BACK_S_MAX:
        try:
            client.predict(MODEL, [SAMPLE_INSTANCE])
        except (PlatformAwayError, ProblemError):
            time.sleep(0.01)
        else:
            answered_s = time.monotonic() - began
            while pid_file.read_text() in ("", killed):  # not all are needed for an answer
                time.sleep(0.01)
            return answered_s
    raise RuntimeError(f"no answer for {BACK_S_MAX} s after a kill of {name}")
