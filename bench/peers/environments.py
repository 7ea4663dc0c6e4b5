"""Makes and starts a peer: its own virtual environment below ``bench/.peers``, one process."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

PEERS = Path(__file__).parent
ENVIRONMENTS = PEERS.parent / ".peers"
START_S_MAX = 60.0


@dataclass(frozen=True, slots=True)
class Peer:
    """A server of the model: what it needs, how it is started, what it is asked."""

    name: str
    packages: tuple[str, ...]
    """Empty: what the project itself has installed is enough."""
    command: tuple[str, ...]
    path: str
    body_style: str = "instances"
    """``instances`` or ``v2`` (Open Inference Protocol)."""
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def ready_path(self) -> str:
        """Where it says with 200 that the model is loaded; ``/``: it listens only then."""
        return "/v2/models/peer/ready" if self.body_style == "v2" else "/"


# ``uvicorn[standard]``, as FastAPI's own documentation installs it, and as ``pip install uvicorn``
# leaves it.
_UVICORN = (
    "python",
    "-m",
    "uvicorn",
    "--port",
    "{port}",
    "--no-access-log",
    "--log-level",
    "error",
)
_PLAIN = ("--loop", "asyncio", "--http", "h11")

# Its defaults (one worker process beside the server) but for ports and a quiet log; and tuned: the
# model in the server's own process, which saves the way to the worker and back.
# Its workers start under no newer uvloop: they ask for a loop that is not there yet.
_MLSERVER = ("mlserver", "onnxruntime", "numpy", "setuptools<81", "uvloop<0.22")
_MLSERVER_START = ("mlserver", "start", "{folder}")
_MLSERVER_SETTINGS = {
    "MLSERVER_HTTP_PORT": "{port}",
    "MLSERVER_GRPC_PORT": "0",
    "MLSERVER_METRICS_PORT": "0",
    "MLSERVER_DEBUG": "false",
}
_V2_PATH = "/v2/models/peer/infer"

PEERS_BY_NAME = {
    peer.name: peer
    for peer in (
        Peer("fastapi", (), (*_UVICORN, "fastapi_onefile:app"), "/predict"),
        Peer("fastapi_h11", (), (*_UVICORN, *_PLAIN, "fastapi_onefile:app"), "/predict"),
        Peer("bare_asgi", (), (*_UVICORN, "bare_asgi:app"), "/predict"),
        Peer("bare_asgi_h11", (), (*_UVICORN, *_PLAIN, "bare_asgi:app"), "/predict"),
        Peer(
            "mosec",
            ("mosec", "msgspec", "onnxruntime", "numpy"),
            ("python", "mosec_server.py", "--port", "{port}", "--timeout", "10000"),
            "/inference",
        ),
        Peer("mlserver", _MLSERVER, _MLSERVER_START, _V2_PATH, "v2", _MLSERVER_SETTINGS),
        Peer(
            "mlserver_in_process",
            _MLSERVER,
            _MLSERVER_START,
            _V2_PATH,
            "v2",
            {**_MLSERVER_SETTINGS, "MLSERVER_PARALLEL_WORKERS": "0"},
        ),
    )
}


def environment_of(peer: Peer) -> Path:
    """The folder with the peer's executables; made on first use. Raises CalledProcessError."""
    if not peer.packages:
        return Path(sys.executable).parent
    home = ENVIRONMENTS / peer.packages[0]  # shared by peers that differ in settings only
    stamp = home / ".packages"
    wanted = "\n".join(peer.packages)
    if not stamp.exists() or stamp.read_text() != wanted:
        shutil.rmtree(home, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
        pip = [str(home / "bin" / "python"), "-m", "pip", "install", "-qq"]
        subprocess.run([*pip, *peer.packages], check=True)
        stamp.write_text(wanted)
    return home / "bin"


@contextmanager
def running(peer: Peer, model: Path, folder: Path) -> Iterator[tuple[str, int]]:
    """The peer, serving ``model``: its base URL and process id. Raises ``RuntimeError``."""
    executables = environment_of(peer)
    port = _free_port()
    folder.mkdir(parents=True, exist_ok=True)
    settings = {"name": "peer", "implementation": "mlserver_runtime.OnnxModel"}
    (folder / "model-settings.json").write_text(json.dumps(settings))
    fill = {"port": str(port), "folder": str(folder)}
    environment = {
        **os.environ,
        "PEER_MODEL": str(model),
        "PYTHONPATH": str(PEERS),
        **{name: value.format(**fill) for name, value in peer.environment.items()},
    }
    program, *arguments = (part.format(**fill) for part in peer.command)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [str(executables / program), *arguments],
            cwd=PEERS, env=environment, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    try:
        _wait(process, f"http://127.0.0.1:{port}", peer.ready_path, folder / "log")
        yield f"http://127.0.0.1:{port}", process.pid
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait()


def body_of(peer: Peer, rows: Sequence[Sequence[float]]) -> str:
    """The JSON body with which this peer is asked for ``rows``."""
    if peer.body_style == "instances":
        return json.dumps({"instances": rows})
    flat = [value for row in rows for value in row]
    shape = [len(rows), len(rows[0])]
    tensor = {"name": "x", "shape": shape, "datatype": "FP32", "data": flat}
    return json.dumps({"inputs": [tensor]})


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _wait(process: subprocess.Popen[bytes], url: str, path: str, log: Path) -> None:
    deadline = time.monotonic() + START_S_MAX
    while time.monotonic() < deadline and process.poll() is None:
        try:
            answer = httpx.get(url + path, trust_env=False, timeout=1)
        except httpx.TransportError:
            time.sleep(0.1)
        else:
            if path == "/" or answer.status_code == 200:
                return
            time.sleep(0.1)
    raise RuntimeError(f"the peer did not start: {log.read_text()[-500:]}")
