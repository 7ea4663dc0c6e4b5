"""Killed anywhere, the monitor loses nothing and counts nothing twice."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from contracts.served import GROUP, STREAM
from kit.clock import FakeClock, write_clock
from kit.redis import connect
from monitor.adapters.database_sqlite import Database, Lease
from monitor.adapters.history_sqlite import SqliteHistory
from monitor.adapters.ledger_sqlite import SqliteLedger
from monitor.adapters.parts_parquet import ParquetParts
from monitor.adapters.stream_redis import RedisStream
from monitor.observe import Observe
from tests.monitor.world import (
    HOUR_US,
    MODEL,
    NOW_US,
    VERSION,
    FakeRegistry,
    Producer,
    baselines_of,
    inline,
)

SIZES, LATER = (3, 5, 2), (4, 1)


class Killed(BaseException):
    """The process is gone: nothing catches this."""


class Fuse:
    """Burns after a number of steps; a step is the moment before, or after, a call outside."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def step(self) -> None:
        if self.left == 0:
            self.left = -1
            raise Killed
        self.left -= 1


class Mortal:
    """Any port, with a fuse before and after each of its calls."""

    def __init__(self, real: Any, fuse: Fuse) -> None:
        self._real = real
        self._fuse = fuse

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._real, name)
        if not callable(real):
            return real
        return self._around_async(real) if name in _ASYNC else self._around(real)

    def _around(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            self._fuse.step()
            result = real(*arguments, **named)
            self._fuse.step()
            return result

        return call

    def _around_async(self, real: Callable[..., Any]) -> Callable[..., Any]:
        async def call(*arguments: Any, **named: Any) -> Any:
            self._fuse.step()
            result = await real(*arguments, **named)
            self._fuse.step()
            return result

        return call


_ASYNC = {"read", "acknowledge", "bury", "read_pending"}


class Life:
    """One life of the process over the same disk and the same stream."""

    def __init__(self, folder: Path, url: str, registry: FakeRegistry, fuse: Fuse) -> None:
        clock = FakeClock(NOW_US + HOUR_US)
        self.database = Database(folder / "monitor.sqlite")
        self.database.open()
        self.redis = connect(url, purpose="test", timeout_ms=2_000)
        self.ledger = SqliteLedger(self.database, 1_000_000)
        self.parts = ParquetParts(folder / "events")
        self.baselines = baselines_of(registry, folder / "baselines", clock)
        self.baselines.load()
        self.parts.sweep(self.ledger.part_names())
        stream = RedisStream(
            self.redis, (STREAM,), "m", clock, entries_max=2, block_ms=1, idle_claim_s=60
        )
        self.observe = Observe(
            Mortal(stream, fuse), Mortal(self.ledger, fuse), Mortal(self.parts, fuse),
            self.baselines, inline, clock, future_tolerance_us=HOUR_US, deliveries_max=5,
        )  # fmt: skip

    async def end(self) -> None:
        self.database.close()
        await self.redis.aclose()

    def ledgers(self) -> dict[str, int]:
        """Three counts of the same rows, that must agree; and what is open."""
        reader = self.database.reader
        names = [name for (name,) in reader.execute("SELECT name FROM parts")]
        layout = self.baselines.known(MODEL, VERSION).layout
        assert layout is not None
        hour = NOW_US // HOUR_US
        history = SqliteHistory(self.database)
        cell = history.cell(MODEL, VERSION, ["production"], hour, hour + 1, layout.baseline_sha)
        volumes = history.volumes(MODEL, VERSION, ["production"], hour, hour + 1)
        return {
            "stored": sum(len(rows) for name in names for rows in self.parts.read(name)),
            "counted": 0 if cell is None else layout.column(cell, "origin").fact("rows"),
            "volumes": sum(volume.count("rows") for volume in volumes.values()),
            "indexed": int(
                reader.execute("SELECT coalesce(sum(rows), 0) FROM blocks").fetchone()[0]
            ),
            "missing": self.ledger.missing(),
        }


async def _live_until_drained(life: Life) -> None:
    idle = 0
    while idle < 3:
        idle = 0 if await life.observe.step() else idle + 1


async def _die_and_live_again(
    folder: Path, url: str, registry: FakeRegistry, producer: Producer, steps: int
) -> tuple[bool, dict[str, int]]:
    first = Life(folder, url, registry, Fuse(steps))
    died = False
    try:
        await _live_until_drained(first)
        producer.send_rows(LATER)
        await _live_until_drained(first)
    except Killed:
        died = True
    await first.end()
    if producer.number == len(SIZES):  # it was killed before they came
        producer.send_rows(LATER)
    second = Life(folder, url, registry, Fuse(-1))
    await _live_until_drained(second)
    found = second.ledgers()
    await second.end()
    return died, found


@pytest.mark.slow
async def test_a_kill_before_or_after_any_step_loses_and_repeats_nothing(
    tmp_path: Path, producer: Producer, redis_url: str
) -> None:
    registry = FakeRegistry()
    kills = 0
    for steps in range(400):
        producer.redis.flushall()
        producer.number = 0
        producer.send_rows(SIZES)
        died, found = await _die_and_live_again(
            tmp_path / str(steps), redis_url, registry, producer, steps
        )
        rows = sum(SIZES + LATER)
        expected = {"stored": rows, "counted": rows, "volumes": rows, "indexed": rows, "missing": 0}
        assert found == expected, f"killed at step {steps}"
        assert producer.redis.xpending(STREAM, GROUP)["pending"] == 0
        if not died:
            break
        kills += 1
    assert kills > 30


def test_what_a_crash_left_half_written_is_swept(tmp_path: Path) -> None:
    parts = ParquetParts(tmp_path)
    folder = tmp_path / "delay" / "2"
    folder.mkdir(parents=True)
    (folder / "1-0_2-0.parquet").write_bytes(b"known")
    (folder / "3-0_4-0.parquet").write_bytes(b"written, not committed")
    (folder / "5-0_6-0.partial").write_bytes(b"half")
    swept = parts.sweep({"delay/2/1-0_2-0.parquet"})
    assert sorted(swept) == ["delay/2/3-0_4-0.parquet", "delay/2/5-0_6-0.partial"]
    assert [path.name for path in folder.iterdir()] == ["1-0_2-0.parquet"]


def test_of_two_processes_one_holds_the_lease_until_it_dies(tmp_path: Path) -> None:
    first, second = Lease(tmp_path / "lease"), Lease(tmp_path / "lease")
    assert first.take()
    assert not second.take()
    assert first.take()
    first.drop()
    assert second.take()
    second.drop()


@pytest.fixture
def processes() -> Iterator[list[subprocess.Popen[bytes]]]:
    running: list[subprocess.Popen[bytes]] = []
    yield running
    for process in running:
        if process.poll() is None:
            process.kill()
        process.wait(10)


def _start(state: Path, url: str) -> subprocess.Popen[bytes]:
    settings = {
        "LEADLINE_STATE_DIR": str(state),
        "LEADLINE_REDIS_URL": url,
        "LEADLINE_CLOCK_FILE": str(state / "clock"),
        "LEADLINE_REGISTRY_URL": "http://127.0.0.1:1",
        "LEADLINE_READ_ENTRIES_MAX": "7",
    }
    with (state / "log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "monitor"], env={**os.environ, **settings}, stderr=log
        )


@pytest.mark.slow
def test_killed_for_real_while_records_flow_nothing_is_lost(
    tmp_path: Path,
    producer: Producer,
    redis_url: str,
    processes: list[subprocess.Popen[bytes]],
) -> None:
    write_clock(tmp_path / "clock", NOW_US + HOUR_US)
    sent = 0
    for _ in range(4):
        process = _start(tmp_path, redis_url)
        processes.append(process)
        before = _applied(tmp_path)
        while _applied(tmp_path) < before + 200:  # it works; now in the middle of it
            assert process.poll() is None, (tmp_path / "log").read_text()
            if sent < before + 600:
                producer.send_rows([3] * 10)
                sent += 30
        process.send_signal(signal.SIGKILL)
        process.wait(10)
    last = _start(tmp_path, redis_url)
    processes.append(last)
    while producer.redis.xinfo_groups(STREAM)[0]["lag"] or _pending(producer):
        assert last.poll() is None
    last.terminate()
    last.wait(20)
    assert _applied(tmp_path) == sent
    parts = ParquetParts(tmp_path / "monitor" / "events")
    database = Database(tmp_path / "monitor" / "monitor.sqlite")
    database.open()
    names = [name for (name,) in database.reader.execute("SELECT name FROM parts")]
    assert sum(len(rows) for name in names for rows in parts.read(name)) == sent
    database.close()


def _pending(producer: Producer) -> int:
    return int(producer.redis.xpending(STREAM, GROUP)["pending"])


def _applied(state: Path) -> int:
    path = state / "monitor" / "monitor.sqlite"
    if not path.exists():
        return 0
    database = Database(path)
    try:
        database.open()
        row = database.reader.execute("SELECT coalesce(sum(rows), 0) FROM blocks").fetchone()
    finally:
        database.close()
    return int(row[0])
