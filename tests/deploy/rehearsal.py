"""docker-compose.yml without Docker: its commands and environments as processes of this machine.

Names of services become 127.0.0.1 and their ports free ones; everything else is what compose says.
"""

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import yaml

from leadline.local.embedded_redis import find_server
from tests.deploy.compose import ROOT, environment_of, load_compose

SECRET = "0123456789abcdef" * 4
READY_S_MAX = 120.0
_REQUIRED = re.compile(r"\$\{[A-Z_]+:\?[^}]+\}")
_DEFAULTED = re.compile(r"\$\{[A-Z_]+:-([^}]*)\}")
_PLACES = (
    "gateway:8080",
    "inference:8081",
    "inference:9081",
    "registry:8082",
    "feature-store:8083",
    "monitor:8084",
    "mlflow:5000",
    "redis:6379",
    "postgres:5432",
    "prometheus:9090",
    "alertmanager:9093",
)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Rehearsal:
    """Starts services of the file one by one; stops them in reverse."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.services: dict[str, Any] = load_compose()["services"]
        self.ports = {place: free_port() for place in _PLACES}
        self._running: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for process in reversed(self._running):
            process.terminate()
        for process in reversed(self._running):
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)

    def here(self, text: str, own: str) -> str:
        """A value of the file, as it is on this machine."""
        text = _REQUIRED.sub(SECRET, _DEFAULTED.sub(r"\1", text))
        for place, port in self.ports.items():
            name, number = place.split(":")
            text = text.replace(place, f"127.0.0.1:{port}")
            if name == own:
                text = re.sub(rf"(?<![0-9]){number}(?![0-9])", str(port), text)
        return text.replace("0.0.0.0", "127.0.0.1").replace("/var/lib", str(self._volume(own)))

    def _volume(self, name: str) -> Path:
        """The folder that is a service's volume; the first keys are made on the gateway's."""
        return self.folder / ("gateway" if name == "first-keys" else name)

    def url(self, name: str) -> str:
        """Where a service of the file listens."""
        place = next(place for place in self.ports if place.startswith(f"{name}:"))
        return f"http://127.0.0.1:{self.ports[place]}"

    def environment(self, name: str) -> dict[str, str]:
        """What the service's process sees."""
        given = environment_of(self.services[name])
        own = {key: self.here(value, name) for key, value in given.items()}
        own["PYTHONPATH"] = f"{ROOT}{os.pathsep}{ROOT / 'deploy/features'}"
        return {"PATH": os.environ["PATH"], "HOME": str(self.folder), **own}

    def command(self, name: str) -> list[str]:
        """What the service runs, with this environment's Python."""
        first, *rest = (self.here(part, name) for part in self.services[name]["command"])
        binaries = Path(sys.executable).parent
        return [str(shutil.which(first, path=str(binaries)) or first), *rest]

    def once(self, name: str) -> str:
        """Run a service that ends; what it said."""
        self._make_folders(name)
        result = subprocess.run(
            self.command(name),
            env=self.environment(name),
            check=True,
            capture_output=True,
            text=True,
            timeout=60,
        )
        return result.stdout

    def start(self, name: str, ready: str = "/readyz") -> None:
        """Start a service and wait until it says that it is ready."""
        self._make_folders(name)
        self.spawn(name, self.command(name), self.environment(name))
        deadline, last = time.monotonic() + READY_S_MAX, "nothing"
        while time.monotonic() < deadline and self._running[-1].poll() is None:
            try:
                answer = httpx.get(f"{self.url(name)}{ready}", trust_env=False, timeout=5)
            except httpx.TransportError as error:
                last = str(error)
            else:
                if answer.status_code == 200:
                    return
                last = answer.text
            time.sleep(0.2)
        log = (self.folder / f"{name}.log").read_text(errors="replace")[-4000:]
        raise AssertionError(f"{name} is not ready: {last}\n{log}")

    def spawn(self, name: str, command: list[str], environment: dict[str, str]) -> None:
        """Start a process that is stopped at the end."""
        with (self.folder / f"{name}.log").open("wb") as log:
            self._running.append(
                subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=self.folder)
            )

    def start_redis(self) -> None:
        """The store, with the settings and the password of the file."""
        data = self.folder / "redis"
        data.mkdir()
        command = [self.here(part, "redis") for part in self.services["redis"]["command"]][1:]
        command[command.index("/data")] = str(data)
        place = ["--port", str(self.ports["redis:6379"]), "--bind", "127.0.0.1"]
        self.spawn("redis", [str(find_server()), *command, *place], {})

    def start_eyes(self, prometheus: str, alertmanager: str) -> None:
        """Prometheus and Alertmanager with the files of ``deploy/``.

        Names are addresses here, and a second passes between two looks, to keep tests short.
        """
        heard = f"--web.listen-address=127.0.0.1:{self.ports['alertmanager:9093']}"
        folder = ROOT / "deploy/alertmanager"
        command = [alertmanager, f"--config.file={folder / 'alertmanager.yml'}", heard]
        command += [f"--storage.path={self.folder / 'alertmanager'}", "--cluster.listen-address="]
        self.spawn("alertmanager", command, {})
        config = self.folder / "prometheus.yml"
        config.write_text(yaml.safe_dump(self._scraped_here()))
        heard = f"--web.listen-address=127.0.0.1:{self.ports['prometheus:9090']}"
        command = [prometheus, f"--config.file={config}", heard]
        # What fires before Alertmanager is found is sent again at once, not in a minute.
        command += [f"--storage.tsdb.path={self.folder / 'tsdb'}", "--rules.alert.resend-delay=1s"]
        self.spawn("prometheus", command, {})

    def _scraped_here(self) -> dict[str, Any]:
        config = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
        assert isinstance(config, dict)
        config["global"].update(scrape_interval="1s", scrape_timeout="1s", evaluation_interval="1s")
        config["rule_files"] = [str(ROOT / "deploy/prometheus" / p) for p in config["rule_files"]]
        for job in config["scrape_configs"]:
            for found in job.pop("dns_sd_configs", []):
                places = [f"{name}:{found['port']}" for name in found["names"]]
                targets = [f"127.0.0.1:{self.ports[place]}" for place in places]
                job["static_configs"] = [{"targets": targets}]
            for static in job["static_configs"]:
                static["targets"] = [
                    self.here(target, "prometheus") for target in static["targets"]
                ]
        for told in config["alerting"]["alertmanagers"]:
            for static in told["static_configs"]:
                static["targets"] = [self.here(target, "") for target in static["targets"]]
        return config

    def _make_folders(self, name: str) -> None:
        for inside in ("leadline", "mlflow"):
            (self._volume(name) / inside).mkdir(parents=True, exist_ok=True)


def find_postgres() -> Path | None:
    """The folder of PostgreSQL's programs, or None."""
    found = shutil.which("initdb") or shutil.which("postgres")
    candidates = [Path(found).resolve().parent] if found else []
    candidates += sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return next((folder for folder in candidates if (folder / "initdb").exists()), None)


@contextmanager
def running_postgres(binaries: Path, port: int) -> Iterator[None]:
    """A PostgreSQL with the user, password and databases of the file.

    It refuses to run as root, so root lends it the user that its package made.
    """
    user = "postgres" if os.geteuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="leadline-pg"))
    if user:
        shutil.chown(folder, user)
    (folder / "password").write_text(SECRET)
    (folder / "password").chmod(0o644)
    data = folder / "data"
    init: list[str | Path] = ["--pgdata", data, "--username=leadline", "--auth=scram-sha-256"]
    init += [f"--pwfile={folder / 'password'}", "--data-checksums", "--encoding=UTF8"]
    environment = {"PATH": os.environ["PATH"], "PGPASSWORD": SECRET, "LC_ALL": "C"}

    def run(program: str, *arguments: str | Path) -> None:
        subprocess.run(
            [binaries / program, *arguments],
            check=True,
            capture_output=True,
            timeout=120,
            user=user,
            env=environment,
            cwd=folder,
        )

    run("initdb", *init)
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder}"
    run("pg_ctl", "start", "-w", "-D", data, "-l", folder / "log", "-o", options)
    try:
        connect = ["-h", "127.0.0.1", "-p", str(port), "-U", "leadline"]
        run("psql", *connect, "-d", "postgres", "-c", "CREATE DATABASE registry")
        script = (ROOT / "deploy/postgres/databases.sql").read_text()
        run("psql", *connect, "-d", "registry", "-c", script)
        yield
    finally:
        run("pg_ctl", "stop", "-w", "-m", "fast", "-D", data)
        shutil.rmtree(folder)
