"""Which processes the platform is, in the order they are started."""

import asyncio
import os
import socket
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from leadline.local.embedded_redis import find_server, server_command
from leadline.local.ports import listen, port_of
from leadline.local.supervisor import Child
from leadline.state import StateDir

HOST = "127.0.0.1"
DEFAULT_PORTS = {
    "gateway": 8080,
    "inference": 8081,
    "registry": 8082,
    "feature_store": 8083,
    "monitor": 8084,
    "mlflow": 5000,
}
DEMO_HOLIDAYS = "2013-11-28/2013-12-01,2013-12-24/2014-01-01"
"""Thanksgiving with its Sunday, and Christmas to New Year: airlines fly other schedules then."""
NICENESS = {"monitor": 10, "mlflow": 10}
"""No caller waits for these: on a crowded machine the path of a prediction goes first."""
PYTHON = (sys.executable, "-P", "-m")
"""Without the folder that the command was given in, which may hold a ``redis.py`` of its own."""
START_ORDER = ("registry", "feature_store", "monitor", "inference", "gateway")
_PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "SSL_CERT_FILE", "PYTHONPATH")
"""What a child sees of this process's environment, beside LEADLINE_*."""


@dataclass(frozen=True, slots=True)
class Platform:
    """The sockets and addresses of one local platform, before anything runs."""

    state: StateDir
    service_token: str
    feature_modules: str
    sockets: dict[str, socket.socket] = field(default_factory=dict)

    def bind(self) -> list[str]:
        """Take the ports. Returns a sentence for each that was busy."""
        moved = []
        for name, port in DEFAULT_PORTS.items():
            # One busy port moves one service, not all behind it.
            self.sockets[name] = listen(HOST, port, leave=DEFAULT_PORTS.values())
            got = port_of(self.sockets[name])
            if got != port:
                moved.append(f"port {port} is busy: {name} takes {got}")
        return moved

    def url(self, name: str) -> str:
        """Where ``name`` listens."""
        return f"http://{HOST}:{port_of(self.sockets[name])}"

    def endpoints(self) -> dict[str, str]:
        """The content of ``endpoints.json``."""
        return {name: self.url(name) for name in DEFAULT_PORTS}

    @property
    def redis_socket(self) -> Path:
        """Where the embedded store listens."""
        return self.state.socket_dir / "redis.sock"

    def redis_child(self) -> Child:
        """The embedded Redis-compatible server."""
        data_dir = self.state.root / "redis"
        data_dir.mkdir(exist_ok=True, mode=0o700)

        async def ready() -> bool:
            return await asyncio.to_thread(_answers_ping, self.redis_socket)

        command = server_command(find_server(), data_dir, self.redis_socket)
        return self._child("redis", command, {}, ready)

    def service_child(self, name: str) -> Child:
        """One of the five services, on its own passed socket."""
        sock = self.sockets[name]
        environment = {
            "LEADLINE_LISTEN_FD": str(sock.fileno()),
            "LEADLINE_PORT": str(port_of(sock)),
            "LEADLINE_STATE_DIR": str(self.state.root),
            "LEADLINE_REDIS_URL": f"unix://{self.redis_socket}",
            "LEADLINE_SERVICE_TOKEN": self.service_token,
            "LEADLINE_FEATURE_MODULES": self.feature_modules,
            "LEADLINE_REGISTRY_URL": self.url("registry"),
            "LEADLINE_FEATURE_STORE_URL": self.url("feature_store"),
            "LEADLINE_MONITOR_URL": self.url("monitor"),
            "LEADLINE_INFERENCE_URLS": self.url("inference"),
            "LEADLINE_INFERENCE_FRAMES": f"unix://{self.state.socket_dir}/inference.frames",
        }
        if self.state.clock_file.exists():
            environment["LEADLINE_CLOCK_FILE"] = str(self.state.clock_file)
            environment["LEADLINE_KNOWN_DAYS"] = DEMO_HOLIDAYS
        if name == "inference":
            environment["LEADLINE_PUSH_URL"] = f"{self.url(name)}/internal/routing"
            environment["LEADLINE_V2_OPEN"] = "true"  # loopback only; the gateway checks keys
        own = {key: value for key, value in os.environ.items() if key.startswith("LEADLINE_")}
        command = [*PYTHON, name]
        ready = _http_ready(f"{self.url(name)}/readyz", _ready_or_tried)
        return self._child(name, command, {**own, **environment}, ready, (sock.fileno(),))

    async def not_loaded(self) -> list[str]:
        """A sentence for every model that inference tried to load and could not."""
        return failed_models(await _asked(f"{self.url('inference')}/readyz"))

    def mlflow_child(self) -> Child:
        """MLflow's own server, for data scientists; nothing of the platform depends on it."""
        folder, sock = self.state.root / "mlflow", self.sockets["mlflow"]
        folder.mkdir(exist_ok=True, mode=0o700)
        module = [*PYTHON, "leadline.local.mlflow_server"]
        ready = _http_ready(f"{self.url('mlflow')}/health")
        command = [*module, str(folder), str(sock.fileno())]
        return self._child("mlflow", command, {}, ready, (sock.fileno(),))

    def _child(
        self,
        name: str,
        command: list[str],
        environment: dict[str, str],
        ready: Callable[[], Awaitable[bool]],
        pass_fds: tuple[int, ...] = (),
    ) -> Child:
        passed = {key: os.environ[key] for key in _PASSED_ON if key in os.environ}
        return Child(
            name=name,
            command=command,
            environment={**passed, "PYTHONUNBUFFERED": "1", **environment},
            ready=ready,
            log_file=self.state.logs_dir / f"{name}.log",
            pass_fds=pass_fds,
            niceness=NICENESS.get(name, 0),
        )


def _ready(answer: httpx.Response) -> bool:
    return answer.status_code == 200


def _ready_or_tried(answer: httpx.Response) -> bool:
    """A model that cannot be loaded keeps its replica from being ready, but not the platform from
    starting: it is through the platform that somebody mends it."""
    return _ready(answer) or bool(failed_models(answer))


def failed_models(answer: httpx.Response) -> list[str]:
    """What ``/readyz`` says of models that were tried and failed; empty where more is missing."""
    try:
        missing = answer.json()["missing"]
    except (ValueError, KeyError):
        return []
    failed = [each for each in missing if " is not loaded: " in each]
    return failed if len(failed) == len(missing) else []


def _http_ready(
    url: str, enough: Callable[[httpx.Response], bool] = _ready
) -> Callable[[], Awaitable[bool]]:
    async def ready() -> bool:
        try:
            return enough(await _asked(url))
        except httpx.TransportError:
            return False

    return ready


async def _asked(url: str) -> httpx.Response:
    # Plain HTTP on loopback: reading the certificate store at every try would cost more.
    async with httpx.AsyncClient(trust_env=False, timeout=1.0, verify=False) as client:  # noqa: S501
        return await client.get(url)


def _answers_ping(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(1.0)
        try:
            sock.connect(str(path))
            sock.sendall(b"PING\r\n")
            return sock.recv(64).startswith(b"+PONG")
        except OSError:
            return False
