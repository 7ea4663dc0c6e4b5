"""One life of a local platform: start, fill, announce, watch, stop."""

import asyncio
import fcntl
import os
import secrets
import shutil
import signal
import sys
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click

from kit.clock import write_clock
from leadline.demo.sample import BEGINS, sample_curl
from leadline.demo.setup import is_set_up
from leadline.local.keys import make_keys
from leadline.local.platform import PYTHON, START_ORDER, Platform
from leadline.local.steps import Steps
from leadline.local.supervisor import ChildFailedError, Supervisor, prepare_child
from leadline.state import StateDir, write_private

DEMO_FEATURES = "leadline.demo.features"
_UNFINISHED = "The demo could not be set up; the next `leadline up --demo` goes on from there."


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What ``leadline up`` was asked for."""

    state: StateDir
    demo: bool
    feature_modules: tuple[str, ...] = ()


async def run(options: RunOptions) -> None:
    """Run until SIGINT or SIGTERM. Raises ``ClickException`` when the platform cannot start."""
    state, steps = options.state, Steps()
    state.make()
    with _only_one(state):
        if options.demo:
            _begin_demo(state)
        admin_key = make_keys(state)
        platform = Platform(state, _service_token(state), _feature_modules(options))
        if admin_key is not None:
            print(f"  admin key, shown this once (kept in {state.credentials_file}): {admin_key}")
        for sentence in platform.bind():
            steps(sentence)
        supervisor = Supervisor(report=steps, pid_dir=state.run_dir)
        stop = _stop_event()
        try:
            await _until(stop, _start(platform, supervisor, steps, options))
            if not stop.is_set():
                print(banner(platform, steps.total_s(), demo=options.demo), flush=True)
            await stop.wait()
        except ChildFailedError as failed:
            raise click.ClickException(str(failed)) from None
        finally:
            print("stopping …", flush=True)
            await supervisor.stop()
            (state.run_dir / "ready").unlink(missing_ok=True)
            print("stopped; the state is kept in", state.root, flush=True)


async def _start(
    platform: Platform, supervisor: Supervisor, steps: Steps, options: RunOptions
) -> None:
    state = options.state
    with steps.step("embedded Redis-compatible server"):
        await supervisor.start(platform.redis_child())
        await supervisor.wait_ready("redis")
    write_private(state.endpoints_file, dict(platform.endpoints()))
    await supervisor.start(platform.mlflow_child())  # takes longest and is waited for last
    for name in START_ORDER:  # the sockets listen already, so that none has to wait for another
        await supervisor.start(platform.service_child(name))
    for name in START_ORDER:
        with steps.step(f"{name} ready at {platform.url(name)}"):
            await supervisor.wait_ready(name)
    for sentence in await platform.not_loaded():
        steps(f"WARNING: {sentence}")
    if options.demo and not is_set_up(state):
        await _set_up_demo(state, steps)
    with steps.step(f"MLflow ready at {platform.url('mlflow')}"):
        await supervisor.wait_ready("mlflow")
    (state.run_dir / "ready").touch()


async def _set_up_demo(state: StateDir, steps: Steps) -> None:
    """In a process of its own, with which the 400 MB of the training libraries go."""
    process = await asyncio.create_subprocess_exec(
        *(*PYTHON, "leadline", "demo", "set-up", "--state", str(state.root)),
        *("--began-s", str(steps.began_s)),
        start_new_session=True,  # Ctrl-C reaches us only
        preexec_fn=partial(prepare_child, 0),
    )
    try:
        if await process.wait():
            raise click.ClickException(_UNFINISHED)
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()


async def _until(stop: asyncio.Event, work: Coroutine[None, None, None]) -> None:
    """Do the work, or give it up when the user asks to stop. Raises what the work raises."""
    working = asyncio.create_task(work)
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if working.done():
        working.result()
    else:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)


def _stop_event() -> asyncio.Event:
    stop = asyncio.Event()
    for signal_ in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(signal_, stop.set)
    return stop


@contextmanager
def _only_one(state: StateDir) -> Iterator[None]:
    """Two platforms never share a state directory."""
    lock_file = state.run_dir / "supervisor.pid"
    descriptor = os.open(lock_file, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        message = f"A platform runs in {state.root} already: leadline status{state.flag}"
        raise click.ClickException(message) from None
    try:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, str(os.getpid()).encode())
        yield
        os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def _service_token(state: StateDir) -> str:
    path = state.root / "service_token"
    if not path.exists():
        write_private(path, secrets.token_urlsafe(32))
    return path.read_text()


def _begin_demo(state: StateDir) -> None:
    if not state.clock_file.exists():
        write_clock(state.clock_file, int(BEGINS.timestamp()) * 1_000_000)


def _feature_modules(options: RunOptions) -> str:
    demo = options.state.clock_file.exists()
    return ",".join([*([DEMO_FEATURES] if demo else []), *options.feature_modules])


def banner(platform: Platform, seconds: float, *, demo: bool) -> str:
    """What the user needs now: addresses, a key, a call to paste, how to stop."""
    credentials, leadline = platform.state.read_credentials(), _own_name()
    flag = platform.state.flag
    lines = ["", f"  Leadline is ready ({seconds:.1f} s).", ""]
    lines += [f"  {name:14} {url}" for name, url in platform.endpoints().items()]
    lines += ["", f"  API key        {credentials['demo_key']}", ""]
    if demo:
        lines += ["  Will this flight arrive late? Paste this:", ""]
        lines += [sample_curl(platform.url("gateway"), credentials["demo_key"]), ""]
        lines += [f"  Then watch a month pass:  {leadline} demo replay --speed 1d=7s{flag}"]
    lines += [f"  API documentation         {platform.url('gateway')}/docs"]
    lines += [f"  Stop                      Ctrl-C, or: {leadline} down{flag}", ""]
    return "\n".join(lines)


def _own_name() -> str:
    """How this shell finds the command line: its environment need not be active."""
    if shutil.which("leadline"):
        return "leadline"
    own = Path(sys.executable).with_name("leadline")
    here = Path.cwd()
    return str(own.relative_to(here) if own.is_relative_to(here) else own)
