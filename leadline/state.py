"""The state directory: where one local platform keeps everything."""

import json
import os
import shlex
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import click

from kit.durable import write_whole

DEFAULT_STATE = Path(".leadline")
SERVICES = ("gateway", "inference", "registry", "feature_store", "monitor")
_SOCKET_PATH_BYTES_MAX = 100
"""The kernel takes 107 bytes for the path of a unix socket."""


@dataclass(frozen=True, slots=True)
class StateDir:
    """Paths below one state directory, and the two files that clients read."""

    root: Path

    @property
    def credentials_file(self) -> Path:
        """``{"admin_key", "demo_key"}``, mode 0600."""
        return self.root / "credentials.json"

    @property
    def endpoints_file(self) -> Path:
        """Base URLs of the services and MLflow."""
        return self.root / "endpoints.json"

    @property
    def clock_file(self) -> Path:
        """Business time of the demo; absent outside it."""
        return self.root / "clock"

    @property
    def run_dir(self) -> Path:
        """Process ids and the lock."""
        return self.root / "run"

    @property
    def logs_dir(self) -> Path:
        """One log a process."""
        return self.root / "logs"

    @property
    def socket_dir(self) -> Path:
        """Unix sockets; outside the state directory only where its path is too long for one."""
        inside = self.run_dir.resolve()
        if len(os.fsencode(inside / "inference.frames")) <= _SOCKET_PATH_BYTES_MAX:
            return inside
        digest = sha256(os.fsencode(inside)).hexdigest()[:16]
        return Path(gettempdir()) / f"leadline-{os.getuid()}-{digest}"

    @property
    def flag(self) -> str:
        """What a command needs behind it to mean this directory: nothing, or `` --state DIR``."""
        default = self.root == DEFAULT_STATE.absolute()
        return "" if default else f" --state {shlex.quote(str(self.root))}"

    def make(self) -> None:
        """Create the directories, readable by their owner alone."""
        for folder in (self.root, self.run_dir, self.logs_dir, self.socket_dir):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if self.socket_dir.stat().st_uid != os.getuid():
            raise click.ClickException(f"{self.socket_dir} belongs to somebody else.")

    def read_credentials(self) -> dict[str, str]:
        """The keys of this platform. Raises a ``ClickException`` when there are none."""
        return self._read(self.credentials_file)

    def read_endpoints(self) -> dict[str, str]:
        """The base URLs of this platform. Raises a ``ClickException`` when there are none."""
        return self._read(self.endpoints_file)

    def _read(self, path: Path) -> dict[str, str]:
        try:
            content = json.loads(path.read_text())
        except FileNotFoundError:
            message = f"No platform has been started in {self.root}: leadline up{self.flag}"
            raise click.ClickException(message) from None
        assert isinstance(content, dict)
        return content


def write_private(path: Path, content: dict[str, Any] | str) -> None:
    """Write a file that only its owner may read, whole or not at all."""
    text = content if isinstance(content, str) else json.dumps(content, indent=2) + "\n"
    write_whole(path, text.encode(), mode=0o600)


state_option = click.option(
    "--state",
    "state",
    type=click.Path(path_type=Path, file_okay=False),
    default=DEFAULT_STATE,
    show_default=True,
    envvar="LEADLINE_STATE",
    help="The state directory of the platform.",
    callback=lambda _context, _option, value: StateDir(value.absolute()),
)
"""``--state DIR``; hands the command a ``StateDir``."""
