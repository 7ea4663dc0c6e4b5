"""The shipper: at least once, and the spool forgets only what is safe."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from inference.adapters.spool_file import FileSpool
from inference.domain.spool_record import SpoolRecord
from inference.ship import Ship
from kit.clock import FakeClock
from kit.redis_pipeline import RedisAway


@dataclass
class FakeStream:
    """A stream that may be away, restart with loss, or be unable to confirm."""

    added: list[bytes] = field(default_factory=list)
    away: bool = False
    confirms: bool = True
    run: int = 1
    _began: int = 0

    async def begin(self) -> None:
        self._check()
        self._began = self.run

    async def add(self, records: Sequence[SpoolRecord]) -> None:
        self._check()
        self.added += [record.payload for record in records]

    async def acknowledged(self) -> bool:
        self._check()
        if self._began != self.run:
            raise RedisAway("restarted")
        return self.confirms

    def _check(self) -> None:
        if self.away:
            raise RedisAway("away")


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[FileSpool]:
    made = FileSpool(tmp_path, replica="r", bytes_max=1 << 20)
    made.open()
    yield made
    made.close()


async def test_records_are_added_once_and_then_forgotten(
    spool: FileSpool, fake_clock: FakeClock
) -> None:
    stream = FakeStream()
    ship = Ship(spool, stream, fake_clock)
    spool.append(b"one", 1)
    spool.append(b"two", 1)
    assert await ship.add() == 2
    assert await ship.add() == 0
    assert spool.bytes_waiting > 0
    await ship.acknowledge()
    assert spool.bytes_waiting == 0
    assert stream.added == [b"one", b"two"]


async def test_nothing_is_forgotten_while_the_stream_is_away(
    spool: FileSpool, fake_clock: FakeClock
) -> None:
    stream = FakeStream()
    ship = Ship(spool, stream, fake_clock)
    spool.append(b"one", 1)
    await ship.add()
    stream.away = True
    with pytest.raises(RedisAway):
        await ship.acknowledge()
    assert spool.bytes_waiting > 0


async def test_what_a_restarted_server_may_have_lost_is_added_again(
    spool: FileSpool, fake_clock: FakeClock
) -> None:
    stream = FakeStream()
    ship = Ship(spool, stream, fake_clock)
    spool.append(b"one", 1)
    await ship.add()
    stream.run, stream.added = 2, []
    await ship.try_acknowledge()
    assert spool.bytes_waiting > 0
    await ship.add()
    await ship.try_acknowledge()
    assert stream.added == [b"one"]
    assert spool.bytes_waiting == 0


async def test_without_confirmation_the_cursor_trails(
    spool: FileSpool, fake_clock: FakeClock
) -> None:
    stream = FakeStream(confirms=False)
    ship = Ship(spool, stream, fake_clock)
    spool.append(b"one", 1)
    await ship.add()
    await ship.acknowledge()
    assert spool.bytes_waiting > 0
    fake_clock.advance_us(2_100_000)
    await ship.acknowledge()
    assert spool.bytes_waiting == 0


async def test_one_half_that_fails_leaves_no_other_running(
    spool: FileSpool, fake_clock: FakeClock
) -> None:
    @dataclass
    class Broken(FakeStream):
        asked: int = 0

        async def begin(self) -> None:
            self.asked += 1

        async def acknowledged(self) -> bool:
            raise OSError("the disk refuses")

    stream = Broken()
    ship = Ship(spool, stream, fake_clock)
    spool.append(b"one", 1)
    before = asyncio.all_tasks()
    with pytest.raises(ExceptionGroup):
        async with asyncio.timeout(5):
            await ship.run()
    assert asyncio.all_tasks() == before
