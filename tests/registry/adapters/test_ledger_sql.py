"""The ledger on SQLite and on a real PostgreSQL: alone among writers, all or nothing, once."""

import asyncio
import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from kit.clock import FakeClock
from kit.problems import Problem
from registry.adapters.ledger_sql import SqlLedger
from registry.adapters.numbers_disk import DiskNumbers
from registry.domain.audit import Act, check_chain
from registry.domain.effects import Scene
from registry.domain.traffic import only
from registry.ports import Once, Transaction
from tests.registry.scenes import Desk, plan, version


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a PostgreSQL of our own on a unix socket."""
    if shutil.which("initdb") is None or shutil.which("postgres") is None:
        pytest.skip("no PostgreSQL is installed here")
    with tempfile.TemporaryDirectory(prefix="llpg") as folder:
        before: list[str] = []
        if os.getuid() == 0:  # PostgreSQL refuses to run as root
            shutil.chown(folder, "nobody")
            before = ["setpriv", "--reuid=nobody", "--clear-groups"]
        data = f"{folder}/data"
        subprocess.run(
            [*before, "initdb", "-D", data, "-U", "leadline", "-A", "trust", "--no-sync"],
            check=True,
            capture_output=True,
            cwd="/",
        )
        server = subprocess.Popen(
            [*before, "postgres", "-D", data, "-k", folder, "-F", "-c", "listen_addresses="],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd="/",
        )
        try:
            assert server.stdout is not None
            for line in server.stdout:
                if b"ready to accept" in line:
                    break
            yield f"postgresql+psycopg://leadline@/postgres?host={folder}"
        finally:
            server.terminate()
            server.communicate(timeout=10)


@pytest.fixture(params=["sqlite", "postgres"])
async def ledgers(
    request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[tuple[SqlLedger, SqlLedger]]:
    """Two copies of the registry on one empty database."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'registry.db'}"
    else:
        url = request.getfixturevalue("postgres")
        _empty(url)
    executor = ThreadPoolExecutor(8)
    numbers = DiskNumbers(tmp_path / "numbers")
    pair = [SqlLedger(url, FakeClock(), executor, numbers) for _ in range(2)]
    await asyncio.gather(*(ledger.open() for ledger in pair))
    yield pair[0], pair[1]
    for ledger in pair:
        await ledger.close()
    executor.shutdown()


def _empty(url: str) -> None:
    from sqlalchemy import create_engine

    from registry.adapters.tables import METADATA

    engine = create_engine(url)
    METADATA.drop_all(engine)
    engine.dispose()


async def test_copies_that_start_together_on_a_new_file_all_open_it(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as executor:
        for turn in range(60):
            url = f"sqlite:///{tmp_path / f'{turn}.db'}"
            numbers = DiskNumbers(tmp_path / "numbers")
            copies = [SqlLedger(url, FakeClock(), executor, numbers) for _ in range(2)]
            await asyncio.gather(*(one.open() for one in copies))
            for one in copies:
                await one.close()


async def test_writers_of_two_copies_wait_for_each_other_and_none_is_lost(
    ledgers: tuple[SqlLedger, SqlLedger],
) -> None:
    def work(tx: Transaction) -> int:
        tx.record(Act(actor="ann", action="test"))
        return tx.put_route("delay", only(str(1 + tx.table().epoch)))

    epochs = await asyncio.gather(*(ledgers[at % 2].write(work) for at in range(30)))
    assert sorted(epochs) == list(range(1, 31))
    entries, head, table = await ledgers[0].read(
        lambda tx: (tx.entries(), tx.audit_head(), tx.table())
    )
    assert check_chain(entries, head) == 30
    assert table.models["delay"].arms[0].version == "30"


async def test_a_write_that_fails_half_way_leaves_nothing(
    ledgers: tuple[SqlLedger, SqlLedger],
) -> None:
    def work(tx: Transaction) -> None:
        tx.add_version(version("1"))
        tx.put_route("delay", only("1"))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await ledgers[0].write(work)
    versions, table = await ledgers[1].read(lambda tx: (tx.versions(), tx.table()))
    assert (versions, table.epoch) == ([], 0)


async def test_a_key_is_answered_once_by_all_copies(
    ledgers: tuple[SqlLedger, SqlLedger],
) -> None:
    once = Once("ann", "k1", "d" * 64)

    def work(tx: Transaction) -> dict[str, Any]:
        return {"seq": tx.record(Act(actor="ann", action="test")).seq}

    answers = await asyncio.gather(*(ledger.write_once(once, work) for ledger in ledgers))
    assert answers == [{"seq": 1}, {"seq": 1}]
    with pytest.raises(Problem):
        await ledgers[0].write_once(Once("ann", "k1", "e" * 64), work)
    assert (await ledgers[0].read(lambda tx: tx.audit_head()))[0] == 1


async def test_a_dry_run_keeps_nothing(ledgers: tuple[SqlLedger, SqlLedger]) -> None:
    def work(tx: Transaction) -> dict[str, Any]:
        return {"epoch": tx.put_route("delay", only("1"))}

    answer = await ledgers[0].write_once(None, work, dry_run=True)
    assert answer == {"epoch": 1, "dry_run": True}
    assert (await ledgers[1].read(lambda tx: tx.table())).epoch == 0


async def test_a_lease_has_one_holder(ledgers: tuple[SqlLedger, SqlLedger]) -> None:
    async def take(at: int) -> bool:
        return await ledgers[at].write(lambda tx: tx.take_lease("c", f"copy-{at}", 10.0))

    assert sorted(await asyncio.gather(take(0), take(1))) == [False, True]


class Crash(Exception):
    """The process dies here."""


def _crashing(tx: Transaction, calls: int) -> Any:  # a Transaction that dies at its n-th call
    left = [calls]

    class Dying:
        def __getattr__(self, name: str) -> Callable[..., Any]:
            method = getattr(tx, name)

            def call(*arguments: Any, **options: Any) -> Any:
                if left[0] == 0:
                    raise Crash
                left[0] -= 1
                if name == "settle":  # its parts can die, too
                    return _settle(call_part, *arguments)
                return method(*arguments, **options)

            def call_part(part: str, *arguments: Any) -> None:
                if left[0] == 0:
                    raise Crash
                left[0] -= 1
                getattr(tx, part)(*arguments)

            return call

    return Dying()


def _settle(call: Callable[..., None], before: Scene, after: Scene, act: Act) -> None:
    call("put_rollout", after.rollout)
    call("put_route", after.rollout.model, after.route)
    call("put_version", after.candidate)
    call("put_version", after.baseline)
    call("record", act)


async def test_a_controller_killed_at_any_step_leaves_the_old_table_and_the_next_look_acts_once(
    tmp_path: Path, fake_clock: FakeClock
) -> None:
    async with Desk(tmp_path, fake_clock) as desk:
        await desk.start(plan())
        real = desk.ledger.write
        before = await desk.route()
        for calls in range(1, 12):

            async def dying(work: Callable[[Transaction], Any], calls: int = calls) -> Any:
                return await real(lambda tx: work(_crashing(tx, calls)))

            desk.steer.ledger = _Ledger(desk.ledger, dying)
            await desk.report("1", "2")
            try:
                await desk.steer()
            except Crash:
                assert await desk.route() == before
                assert (await desk.last()).step == 0
            else:
                break
        assert (await desk.last()).step == 1
        assert (await desk.actions()).count("rollout.promote") == 1
        assert calls > 5


class _Ledger:
    """A ledger whose writes go another way."""

    def __init__(self, ledger: SqlLedger, write: Any) -> None:
        self.read, self.write, self.write_once = ledger.read, write, ledger.write_once
