"""The ledger on SQLAlchemy: SQLite (WAL) embedded, PostgreSQL where copies share it."""

import asyncio
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, func, insert, select, update

from kit.clock import Clock
from registry.adapters.tables import HEAD, METADATA
from registry.adapters.transaction_sql import SqlTransaction
from registry.domain.audit import GENESIS
from registry.ports import Numbers, Once, Transaction

T = TypeVar("T")

BUSY_S_MAX = 10.0
BUSY_POLL_S = 0.005
SCHEMA_LOCK = 0x1EAD
"""Any number that no other program takes in the same database."""


class SqlLedger:
    """See ``registry.ports.Ledger``. Constructing does no I/O; ``open`` creates the tables."""

    def __init__(self, url: str, clock: Clock, executor: Executor, numbers: Numbers) -> None:
        self._url = url
        self._clock = clock
        self._executor = executor
        self._numbers = numbers
        self._engine: Engine | None = None

    async def open(self) -> None:
        """Connect and create what is missing."""
        await self._off_loop(self._open)

    def _open(self) -> None:
        engine = _engine(self._url)
        first = {"id": 1, "turn": 0, "epoch": 0, "issued_us": 0, "audit_seq": 0}
        with _writers(engine).begin() as connection:
            if engine.dialect.name == "postgresql":
                # Copies may start together; on SQLite the write transaction itself is the lock.
                connection.execute(select(func.pg_advisory_xact_lock(SCHEMA_LOCK)))
            METADATA.create_all(connection)
            if connection.execute(select(HEAD.c.id)).first() is None:
                connection.execute(insert(HEAD).values(**first, audit_digest=GENESIS))
        self._engine = engine

    async def close(self) -> None:
        """Give the connections back; after the executor's last work, which has one of its own."""
        if self._engine is not None:
            await asyncio.to_thread(self._engine.dispose)

    async def read(self, work: Callable[[Transaction], T]) -> T:
        """A consistent snapshot."""
        return await self._off_loop(lambda: self._read(work))

    async def write(self, work: Callable[[Transaction], T]) -> T:
        """Alone among all writers; all or nothing."""
        # A caller that leaves must not leave a committed change unannounced.
        return await asyncio.shield(self._off_loop(lambda: self._write(work)))

    async def write_once(
        self,
        once: Once | None,
        work: Callable[[Transaction], dict[str, Any]],
        *,
        dry_run: bool = False,
    ) -> dict[str, Any]:
        """Alone among all writers, once for each idempotency key; see the port."""
        whole = self._off_loop(lambda: self._write_once(once, work, dry_run))
        return await asyncio.shield(whole)

    def _write_once(
        self, once: Once | None, work: Callable[[Transaction], dict[str, Any]], dry_run: bool
    ) -> dict[str, Any]:
        def remembered(tx: Transaction) -> dict[str, Any]:
            assert isinstance(tx, SqlTransaction)
            if dry_run:
                with tx.undone():
                    return work(tx) | {"dry_run": True}
            if once is None:
                return work(tx)
            if (before := tx.answer_to(once)) is not None:
                return before
            answer = work(tx)
            tx.remember(once, answer)
            return answer

        return self._write(remembered)

    def _read(self, work: Callable[[Transaction], T]) -> T:
        assert self._engine is not None, "open() comes first"
        with self._engine.connect() as connection:
            return work(SqlTransaction(connection, self._clock, self._numbers))

    def _write(self, work: Callable[[Transaction], T]) -> T:
        assert self._engine is not None, "open() comes first"
        with _writers(self._engine).begin() as connection:
            connection.execute(update(HEAD).values(turn=HEAD.c.turn + 1))
            return work(SqlTransaction(connection, self._clock, self._numbers))

    async def _off_loop(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)


def _writers(engine: Engine) -> Engine:
    """The same connections for writers, who wait for each other at the head row.

    On PostgreSQL a writer that waited must see what the one before it wrote, which it does not in
    the repeatable reads that readers have.
    """
    if engine.dialect.name == "sqlite":
        return engine.execution_options(leadline_write=True)
    return engine.execution_options(isolation_level="READ COMMITTED")


def _engine(url: str) -> Engine:
    if not url.startswith("sqlite"):
        return create_engine(url, pool_pre_ping=True, isolation_level="REPEATABLE READ")
    Path(url.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, connect_args={"timeout": BUSY_S_MAX})

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: object) -> None:  # sqlite3.Connection behind a proxy
        connection.isolation_level = None  # we say BEGIN ourselves
        _keep_a_wal(connection)
        for pragma in ("synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A deferred transaction that turns into a writer fails at once when another one writes.
        writes = connection.get_execution_options().get("leadline_write", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _keep_a_wal(connection: Any) -> None:
    """Of copies that start together on a new file, SQLite refuses all but one without waiting."""
    patience_ends_s = time.monotonic() + BUSY_S_MAX
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > patience_ends_s:
                raise
            time.sleep(BUSY_POLL_S)
        else:
            return
