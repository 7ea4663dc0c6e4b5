"""One whole platform with the flights demo, started once for all tests of this folder."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from leadline.client import Client
from leadline.state import StateDir

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests of this folder share one platform (``tests.conftest`` keeps them together)."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.platform)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test of this folder that fails shows what the platform wrote: it is gone afterwards."""
    report = yield
    state = getattr(item, "funcargs", {}).get("platform")
    if call.excinfo is not None and isinstance(state, StateDir):
        report.sections.append(("the platform's logs", _logs(state)))
    return report


@pytest.fixture(scope="package")
def platform() -> Iterator[StateDir]:
    """The state directory of a running, seeded platform."""
    with tempfile.TemporaryDirectory(prefix="leadline") as folder:
        state = StateDir(Path(folder) / "state")
        command = [sys.executable, "-m", "leadline", "up", "--demo", "--detach"]
        up = subprocess.run(
            [*command, "--state", str(state.root)],
            check=False,
            capture_output=True,
            text=True,
            timeout=400,
        )
        try:
            assert up.returncode == 0, f"{up.stdout}\n{up.stderr}\n{_logs(state)}"
            yield state
        finally:
            down = [sys.executable, "-m", "leadline", "down", "--state", str(state.root)]
            subprocess.run(down, capture_output=True, timeout=90, check=True)


def _logs(state: StateDir) -> str:
    return "\n".join(
        f"--- {path.name}\n{path.read_text(errors='replace')[-3000:]}"
        for path in sorted(state.logs_dir.glob("*.log"))
    )


@pytest.fixture(scope="package")
def admin(platform: StateDir) -> Iterator[Client]:
    """The platform, as an administrator."""
    with Client.from_state(platform) as client:
        yield client


@pytest.fixture(scope="package")
def demo_user(platform: StateDir) -> Iterator[Client]:
    """The platform, as an application with the demo key."""
    with Client.from_state(platform, key="demo_key") as client:
        yield client


def kill_child(state: StateDir, name: str) -> int:
    """kill -9 the child ``name`` (its process id is returned)."""
    pid = child_pid(state, name)
    os.kill(pid, signal.SIGKILL)
    return pid


def child_pid(state: StateDir, name: str) -> int:
    """The process id of a running child, as the supervisor wrote it down."""
    return int((state.run_dir / f"{name}.pid").read_text())
