"""Starts child processes in order, restarts what dies, and stops all in reverse order."""

import asyncio
import contextlib
import ctypes
import os
import shutil
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from kit.tasks import TaskOwner

RESTART_DELAY_S_MIN = 0.1
RESTART_DELAY_S_MAX = 10.0
STEADY_S = 20.0
"""A child that lived this long is restarted without delay when it dies."""
READY_POLL_S = 0.05
LOG_BYTES_MAX = 20_000_000
LOG_LOOK_S = 10.0


@dataclass(frozen=True, slots=True)
class Child:
    """A process to keep running. ``ready`` says whether it can serve now."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    ready: Callable[[], Awaitable[bool]]
    log_file: Path
    pass_fds: tuple[int, ...] = ()
    ready_s_max: float = 60.0
    stop_s_max: float = 15.0
    niceness: int = 0
    """Above 0 yields the processor to the others: for what nobody waits for."""


@dataclass(slots=True)
class _Running:
    child: Child
    process: asyncio.subprocess.Process
    restarts: int = 0


class ChildFailedError(Exception):
    """A child did not become ready; the message ends with the last lines of its log."""


class Supervisor:
    """Owns the child processes of one platform."""

    def __init__(
        self,
        report: Callable[[str], None],
        pid_dir: Path,
        *,
        log_bytes_max: int = LOG_BYTES_MAX,
        log_look_s: float = LOG_LOOK_S,
    ) -> None:
        self._report = report
        self._pid_dir = pid_dir
        self._log_bytes_max = log_bytes_max
        self._log_look_s = log_look_s
        self._running: dict[str, _Running] = {}
        self._tasks = TaskOwner()

    async def start(self, child: Child) -> None:
        """Start ``child`` and watch it; returns at once (see ``wait_ready``)."""
        if not self._running:
            self._tasks.start("keep logs short", self._keep_logs_short)
        running = _Running(child, await self._spawn(child))
        self._running[child.name] = running
        self._tasks.start(f"watch {child.name}", lambda: self._watch(running))

    async def wait_ready(self, name: str) -> None:
        """Wait until the child is ready. Raises ``ChildFailedError`` after its time, or when it
        keeps dying."""
        running = self._running[name]
        deadline = asyncio.get_running_loop().time() + running.child.ready_s_max
        while not await running.child.ready():
            if asyncio.get_running_loop().time() > deadline or running.restarts > 3:
                raise ChildFailedError(f"{name} did not become ready.\n{_log_end(running.child)}")
            await asyncio.sleep(READY_POLL_S)

    def pids(self) -> dict[str, int]:
        """The process id of each child."""
        return {name: running.process.pid for name, running in self._running.items()}

    async def stop(self) -> None:
        """Stop every child, the last started first; what does not listen is killed."""
        await self._tasks.stop()  # the watchers first, so that nothing is started again
        for running in reversed(list(self._running.values())):
            await _stop(running)

    async def _watch(self, running: _Running) -> None:
        loop, delay_s = asyncio.get_running_loop(), RESTART_DELAY_S_MIN
        while True:
            began = loop.time()
            code = await running.process.wait()
            running.restarts += 1
            if loop.time() - began > STEADY_S:
                delay_s = RESTART_DELAY_S_MIN
            self._report(f"{running.child.name} {_how_it_ended(code)}; restarting")
            _kill_group(running.process.pid, signal.SIGKILL)
            await asyncio.sleep(delay_s)
            delay_s = min(delay_s * 2, RESTART_DELAY_S_MAX)
            running.process = await self._spawn(running.child)

    async def _keep_logs_short(self) -> None:
        while True:
            for running in list(self._running.values()):
                self._keep_short(running.child.log_file)
            await asyncio.sleep(self._log_look_s)

    def _keep_short(self, log_file: Path) -> None:
        """Copy what a log holds aside and begin it anew; who writes to it appends, and goes on."""
        with contextlib.suppress(OSError):  # a full disk, perhaps: then it is tried again
            if log_file.stat().st_size > self._log_bytes_max:
                shutil.copyfile(log_file, log_file.with_suffix(".log.1"))
                os.truncate(log_file, 0)

    async def _spawn(self, child: Child) -> asyncio.subprocess.Process:
        with child.log_file.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *child.command,
                env=dict(child.environment),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=child.pass_fds,
                start_new_session=True,  # Ctrl-C reaches the supervisor only, which stops in order
                preexec_fn=partial(prepare_child, child.niceness),
            )
        (self._pid_dir / f"{child.name}.pid").write_text(str(process.pid))
        return process


_PR_SET_PDEATHSIG = 1


def prepare_child(niceness: int) -> None:
    """In the child, before its program: its priority, files that nobody else may read (webhooks'
    secrets, what was asked and answered), and (Linux: prctl(2)) that even a supervisor that was
    killed leaves no process."""
    os.nice(niceness)
    os.umask(0o077)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


async def _stop(running: _Running) -> None:
    process = running.process
    if process.returncode is None:
        try:
            process.terminate()
            await asyncio.wait_for(process.wait(), running.child.stop_s_max)
        except ProcessLookupError:
            pass
        except TimeoutError:
            _kill_group(process.pid, signal.SIGKILL)
            await process.wait()
    _kill_group(process.pid, signal.SIGKILL)  # what it may have left behind


def _kill_group(pid: int, signal_: signal.Signals) -> None:
    try:
        os.killpg(pid, signal_)
    except (ProcessLookupError, PermissionError):
        return


def _how_it_ended(code: int) -> str:
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"


def _log_end(child: Child, lines: int = 15) -> str:
    if not child.log_file.exists():
        return f"It wrote no log ({child.log_file})."
    text = child.log_file.read_bytes()[-8000:].decode(errors="replace")
    return "\n".join([f"The end of {child.log_file}:", *text.splitlines()[-lines:]])
