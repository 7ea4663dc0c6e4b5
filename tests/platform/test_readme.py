"""The README's commands do what it says, on a running platform."""

import json
import os
import subprocess
import sys
from pathlib import Path

from leadline.state import StateDir
from tests.docs.pages import ROOT, blocks

TWO_COMMANDS, ACTIVATE, *STEPS = blocks(ROOT / "README.md", "sh")


def shell(platform: StateDir, *scripts: str) -> subprocess.CompletedProcess[str]:
    binaries = Path(sys.executable).parent
    environment = {
        **os.environ,
        "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "LEADLINE_STATE": str(platform.root),
    }
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join(scripts)],
        check=False,
        capture_output=True,
        text=True,
        timeout=400,
        cwd=ROOT,
        env=environment,
    )


def test_the_two_commands_are_targets_of_the_makefile() -> None:
    targets = {line.split()[1] for line in TWO_COMMANDS.splitlines()}
    assert targets == {"run", "test"}
    for target in targets:
        subprocess.run(["make", "--dry-run", target], check=True, capture_output=True, cwd=ROOT)


def test_five_minutes_with_it(platform: StateDir) -> None:
    # The environment is active already, and it is not the one in the folder when CI runs this.
    begin = ACTIVATE.replace("source .venv/bin/activate\n", "")
    assert begin != ACTIVATE
    ask, replay, judge = STEPS

    answered = shell(platform, begin, ask)
    assert answered.returncode == 0, answered.stderr
    answer = json.loads(answered.stdout)
    assert answer["model"] == "delay"
    assert 0 <= answer["predictions"][0]["probability"] <= 1
    assert answer["features"]

    replayed = shell(platform, begin, replay)
    assert replayed.returncode == 0, replayed.stderr

    judged = shell(platform, begin, judge)
    assert judged.returncode == 0, judged.stderr
    drift, _, rest = judged.stdout.partition("}{")
    assert '"model":"delay"' in drift.replace(" ", "")
    assert "quality" in rest or "accuracy" in rest
