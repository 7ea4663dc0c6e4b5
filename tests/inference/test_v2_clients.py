"""Unmodified clients of the Open Inference Protocol work against a replica in its own process."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from contracts.routing import Arm, ModelRoute, RoutingTable
from tests.inference.raw_models import echo_model, raw_manifest

CLIENTS = Path(__file__).parent / "clients"
ROOT = Path(__file__).parents[2]
KSERVE = "kserve==0.21.0"


@pytest.fixture
def replica(tmp_path: Path, redis_url: str) -> Iterator[str]:
    """HOST:PORT of a replica that serves ``echo`` (all datatypes) and ``echo32`` (FP32)."""
    folder = tmp_path / "inference"
    (folder / "manifests").mkdir(parents=True)
    (folder / "artifacts").mkdir()
    route = ModelRoute(arms=(Arm(version="1", variant="production", weight=1.0),))
    for name, content in (("echo", echo_model()), ("echo32", echo_model(("FP32",)))):
        manifest = raw_manifest(content, name)
        (folder / "manifests" / f"{name}@1.json").write_text(manifest.model_dump_json())
        (folder / "artifacts" / manifest.files[0].sha256).write_bytes(content)
    table = RoutingTable(epoch=1, models={"echo": route, "echo32": route})
    (folder / "routing.json").write_text(table.model_dump_json())
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "LEADLINE_STATE_DIR": str(tmp_path),
            "LEADLINE_REDIS_URL": redis_url,
            "LEADLINE_REGISTRY_URL": "http://127.0.0.1:1",
            "LEADLINE_LISTEN_FD": str(listener.fileno()),
            "LEADLINE_V2_OPEN": "true",
            "LEADLINE_DRAIN_S": "1",
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "inference"],
            cwd=tmp_path,
            env=environment,
            pass_fds=[listener.fileno()],
        )
    try:
        transport = httpx.HTTPTransport(retries=10)
        with httpx.Client(transport=transport, timeout=20) as client:
            assert client.get(f"http://127.0.0.1:{port}/v2/health/ready").json()["ready"]
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)


def said_by(python: str, script: str, target: str) -> object:
    done = subprocess.run(
        [python, str(CLIENTS / script), target],
        check=False, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_tritonclient_works_sync_and_aio_in_every_form(replica: str) -> None:
    said = said_by(sys.executable, "triton.py", replica)
    assert said == {
        "sync": {"calls": 6, "error": "[400] expected 13 inputs, 'in_uint8' is missing"},
        "aio": {"calls": 6},
    }


@pytest.mark.slow
def test_the_kserve_client_works(replica: str, tmp_path: Path) -> None:
    """In an environment of its own: kserve holds back libraries that the platform uses newer."""
    venv = tmp_path / "kserve"
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    python = str(venv / "bin" / "python")
    subprocess.run([python, "-m", "pip", "install", "--quiet", KSERVE], check=True)
    said = said_by(python, "kserve_v2.py", f"http://{replica}")
    assert said == [{"id": "7", "model": "echo32"}] * 2
