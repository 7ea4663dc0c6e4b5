"""Starting and stopping: one command, no process left, a busy port is no obstacle."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from leadline.local.platform import DEFAULT_PORTS
from leadline.state import StateDir


@contextmanager
def running(root: Path) -> Iterator[subprocess.Popen[str]]:
    """``leadline up`` in the foreground, until it says that it is ready."""
    process = subprocess.Popen(
        [sys.executable, "-m", "leadline", "up", "--state", str(root)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        said.append(line)
        if "Ctrl-C" in line:
            break
    else:
        pytest.fail("".join(said))
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=60)


def children(root: Path) -> list[int]:
    return [int(path.read_text()) for path in (root / "run").glob("*.pid") if path.read_text()]


def lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def status(root: Path) -> tuple[int, dict[str, object]]:
    command = [sys.executable, "-m", "leadline", "status", "--json", "--state", str(root)]
    said = subprocess.run(command, check=False, capture_output=True, text=True)
    return said.returncode, json.loads(said.stdout)


def test_ctrl_c_leaves_no_process_and_the_next_start_finds_its_state(tmp_path: Path) -> None:
    root = tmp_path / "state"
    with running(root) as process:
        assert status(root)[0] == 0
        credentials = (root / "credentials.json").read_text()
        pids = children(root)
        assert len(pids) >= 7
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=60)
        assert process.returncode == 0, said
    assert not [pid for pid in pids if lives(pid)]
    assert status(root)[0] == 1

    with running(root):
        assert (root / "credentials.json").read_text() == credentials
        refused = subprocess.run(
            [sys.executable, "-m", "leadline", "up", "--state", str(root)],
            check=False, capture_output=True, text=True,
        )  # fmt: skip
        assert refused.returncode == 1
        assert "runs in" in refused.stderr


def test_a_busy_port_moves_the_service_and_says_so(tmp_path: Path) -> None:
    root = tmp_path / "state"
    with socket.socket() as busy:
        busy.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            busy.bind(("127.0.0.1", DEFAULT_PORTS["registry"]))
            busy.listen()
        except OSError:
            pass  # somebody else keeps it busy, which serves as well
        with running(root):
            registry = StateDir(root).read_endpoints()["registry"]
            assert not registry.endswith(f":{DEFAULT_PORTS['registry']}")
            assert httpx.get(f"{registry}/readyz", trust_env=False).status_code == 200


def test_the_state_is_private(platform: StateDir) -> None:
    assert platform.credentials_file.stat().st_mode & 0o077 == 0
    assert set(platform.read_endpoints()) == set(DEFAULT_PORTS)
    assert platform.root.stat().st_mode & 0o077 == 0
