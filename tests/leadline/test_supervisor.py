"""Children are started, watched, restarted and stopped; real processes."""

import asyncio
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from leadline.local.supervisor import Child, ChildFailedError, Supervisor
from tests.polling import until

# Says where it is by a file, then waits; SIGTERM ends it, unless it was told to be deaf.
PROGRAM = """
import pathlib, signal, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN if "deaf" in sys.argv else lambda *_: sys.exit(0))
pathlib.Path(sys.argv[1]).touch()
while True: signal.pause()
"""


def child(tmp_path: Path, name: str, *arguments: str, stop_s_max: float = 10.0) -> Child:
    flag = tmp_path / name

    async def ready() -> bool:
        return flag.exists()

    return Child(
        name=name,
        command=[sys.executable, "-c", PROGRAM, str(flag), *arguments],
        environment={},
        ready=ready,
        log_file=tmp_path / f"{name}.log",
        stop_s_max=stop_s_max,
    )


def lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_a_killed_child_is_started_again_and_reported(tmp_path: Path) -> None:
    said: list[str] = []
    supervisor = Supervisor(said.append, tmp_path)
    await supervisor.start(child(tmp_path, "one"))
    await supervisor.wait_ready("one")
    first = supervisor.pids()["one"]
    (tmp_path / "one").unlink()
    os.kill(first, signal.SIGKILL)
    await until((tmp_path / "one").exists)
    assert supervisor.pids()["one"] != first
    assert said == ["one was killed by SIGKILL; restarting"]
    await supervisor.stop()


async def test_what_a_child_writes_only_its_owner_may_read(tmp_path: Path) -> None:
    supervisor = Supervisor(lambda _: None, tmp_path)
    await supervisor.start(child(tmp_path, "one"))
    await supervisor.wait_ready("one")
    await supervisor.stop()
    assert (tmp_path / "one").stat().st_mode & 0o077 == 0


async def test_stopping_leaves_no_process_even_a_deaf_one(tmp_path: Path) -> None:
    supervisor = Supervisor(lambda _: None, tmp_path)
    for name, arguments in (("polite", ()), ("impolite", ("deaf",))):
        await supervisor.start(child(tmp_path, name, *arguments, stop_s_max=0.3))
        await supervisor.wait_ready(name)
    pids = supervisor.pids().values()
    await supervisor.stop()
    assert not any(lives(pid) for pid in pids)


async def test_a_child_that_cannot_start_is_reported_with_the_end_of_its_log(
    tmp_path: Path,
) -> None:
    async def never() -> bool:
        return False

    command = [sys.executable, "-c", "raise SystemExit('no configuration')"]
    broken = Child("broken", command, {}, never, tmp_path / "broken.log")
    supervisor = Supervisor(lambda _: None, tmp_path)
    await supervisor.start(broken)
    with pytest.raises(ChildFailedError, match="no configuration"):
        await supervisor.wait_ready("broken")
    await supervisor.stop()


# Writes much, and a little more once a file says so; then waits.
TALKATIVE = """
import pathlib, signal, sys, time
print("early\\n" * 500, end="", flush=True)
while not pathlib.Path(sys.argv[1]).exists(): time.sleep(0.01)
print("late", flush=True)
signal.pause()
"""


async def test_a_log_that_grew_too_long_is_put_aside_and_goes_on(tmp_path: Path) -> None:
    go_on, log, aside = (tmp_path / name for name in ("go on", "one.log", "one.log.1"))
    supervisor = Supervisor(print, tmp_path, log_bytes_max=1_000, log_look_s=0.01)
    command = [sys.executable, "-c", TALKATIVE, str(go_on)]
    await supervisor.start(replace(child(tmp_path, "one"), command=command))
    try:
        await until(lambda: aside.exists() and not log.read_bytes())
        go_on.touch()
        await until(lambda: log.read_text() == "late\n")
    finally:
        await supervisor.stop()
    assert aside.read_text() == "early\n" * 500


@pytest.mark.skipif(sys.platform != "linux", reason="parent-death signals are Linux's")
async def test_a_killed_supervisor_leaves_no_process(tmp_path: Path) -> None:
    program = f"""
import asyncio, pathlib, sys
sys.path.insert(0, {str(Path.cwd())!r})
from tests.leadline.test_supervisor import child
from leadline.local.supervisor import Supervisor
async def main():
    supervisor = Supervisor(print, pathlib.Path({str(tmp_path)!r}))
    await supervisor.start(child(pathlib.Path({str(tmp_path)!r}), "orphan"))
    await supervisor.wait_ready("orphan")
    print(supervisor.pids()["orphan"], flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    orphan = int(await process.stdout.readline())
    process.kill()
    await process.wait()
    await until(lambda: not lives(orphan))
