"""The last two weeks of November, lived through on a whole platform: nobody is called."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from leadline.client import Client
from leadline.state import StateDir
from tests.polling import until

pytestmark = pytest.mark.slow
BEGINS, ENDS = "2013-11-17", "2013-12-01"


def leadline(state: StateDir, *words: str, timeout_s: float = 120) -> None:
    command = [sys.executable, "-m", "leadline", *words, "--state", str(state.root)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=timeout_s)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def november() -> Iterator[StateDir]:
    """A platform on the evening of 30 November, with version 1 in production all the time."""
    with tempfile.TemporaryDirectory(prefix="leadline") as folder:
        state = StateDir(Path(folder) / "state")
        leadline(state, "demo", "begin", "--at", BEGINS)
        try:
            leadline(state, "up", "--demo", "--detach", timeout_s=400)
            replay = ("demo", "replay", "--speed", "max", "--until", ENDS)
            leadline(state, *replay, timeout_s=1500)
            yield state
        finally:
            leadline(state, "down")


def told(state: StateDir) -> list[dict[str, Any]]:
    """Every message of the monitor, from its log."""
    lines = (state.logs_dir / "monitor.log").read_text().splitlines()
    entries = [json.loads(line) for line in lines if line.startswith("{")]
    return [entry for entry in entries if entry["event"] == "alert"]


async def test_calm_november_calls_nobody_and_yet_every_day_was_judged(november: StateDir) -> None:
    with Client.from_state(november) as client:

        def runs() -> list[Any]:
            found: list[Any] = client.get("/v1/drift/delay/runs", job="day", limit=30)["runs"]
            return found

        # the last day is judged once it has settled
        await until(lambda: [run["state"] for run in runs()] == ["done"] * 14)
        judged = runs()
    served = [run["result"]["versions"]["1"] for run in judged]
    assert min(version["rows"] for version in served) > 500
    held_against_training = [not version["unlike_other_days"] for version in reversed(served)]
    assert held_against_training == [True] * 11 + [False] * 3  # Thanksgiving
    messages = told(november)
    assert [one["severity"] for one in messages] == ["info"] * len(messages)
    assert messages  # the literal rules are listed all the same
