"""Replicas behind a name (a headless service): its addresses come and go."""

import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from contracts.problems import ProblemCode
from gateway.adapters.replica_link import ReplicaLink
from gateway.adapters.replicas_frames import ReplicasFrames
from kit.clock import SystemClock
from tests.gateway.adapters.asking import named, refused, send
from tests.gateway.replica import FakeReplica
from tests.polling import until

HOSTS = ("127.0.0.1", "127.0.0.2")


class FakeNames:
    """A name server: what each name is now; without an answer for a name it is away."""

    def __init__(self, **known: set[str]) -> None:
        self.known = known
        self.asked = 0

    async def look_up(self, name: str, _: int) -> set[str]:
        self.asked += 1
        if name not in self.known:
            raise socket.gaierror(socket.EAI_AGAIN, "try again")
        return set(self.known[name])

    async def asked_anew(self) -> None:
        """Wait until a round of questions that began after this call is over."""
        before = self.asked
        await until(lambda: self.asked >= before + 2 * max(1, len(self.known)))


@dataclass(slots=True, eq=False)
class Named:
    """A pool that knows its replicas by name only: ``a`` and ``b`` on two addresses, one port.

    Of a second name, of the same port, it never hears anything.
    """

    pool: ReplicasFrames
    names: FakeNames
    a: FakeReplica
    b: FakeReplica

    async def both_are_asked(self) -> None:
        """Each has the connection, and gets some of what is asked at a time."""
        await until(lambda: self.pool.up == 2)
        self.a.holds = self.b.holds = True
        before = len(self.a.asked), len(self.b.asked)
        asked = [asyncio.ensure_future(send(self.pool)) for _ in range(2)]
        await until(
            lambda: (len(self.a.asked), len(self.b.asked)) == (before[0] + 1, before[1] + 1)
        )
        self.a.let_go()
        self.b.let_go()
        assert sorted([(await each).body for each in asked]) == [b"a", b"b"]


@pytest.fixture
async def named_pool() -> AsyncIterator[Named]:
    with socket.create_server((HOSTS[0], 0)) as free:
        port = free.getsockname()[1]
    a, b = (FakeReplica((h, port), named(n)) for h, n in zip(HOSTS, (b"a", b"b"), strict=True))
    names = FakeNames(inference=set(HOSTS))
    pool = ReplicasFrames(
        [f"tcp://{name}:{port}" for name in ("inference", "elsewhere")], SystemClock(),
        items_max=100, bytes_max=10**6,
        retry_budget=0.1, resolve_s=0.01, look_up=names.look_up,
    )  # fmt: skip
    for each in (a, b):
        await each.start()
    await pool.start()
    yield Named(pool, names, a, b)
    await pool.stop()
    for each in (a, b):
        await each.stop()


async def test_addresses_of_a_name_are_replicas_and_come_and_go(named_pool: Named) -> None:
    pool, names, a, b = named_pool.pool, named_pool.names, named_pool.a, named_pool.b
    await named_pool.both_are_asked()
    names.known["inference"] = {HOSTS[0]}
    await until(lambda: pool.up == 1 and b.connections == 0)
    assert {(await send(pool)).body for _ in range(10)} == {b"a"}
    assert (a.connections, len(b.asked)) == (1, 1)
    names.known["inference"] = set(HOSTS)
    await named_pool.both_are_asked()


async def test_an_address_that_goes_still_answers_what_it_was_asked_and_then_is_left(
    named_pool: Named,
) -> None:
    pool, names, b = named_pool.pool, named_pool.names, named_pool.b
    await named_pool.both_are_asked()
    b.holds = True
    open_asks = [asyncio.ensure_future(send(pool)) for _ in range(4)]  # two for each
    await until(lambda: len(b.asked) == 3)
    names.known["inference"] = {HOSTS[0]}
    await until(lambda: pool.up == 1)
    await names.asked_anew()
    assert {(await send(pool)).body for _ in range(10)} == {b"a"}
    assert (b.connections, b.cancelled, len(b.asked)) == (1, 0, 3)
    b.let_go()
    assert sorted([(await each).body for each in open_asks]) == [b"a", b"a", b"b", b"b"]
    await until(lambda: b.connections == 0)
    await names.asked_anew()
    assert b.connections == 0


async def test_an_ask_at_an_address_that_has_gone_ends_at_its_deadline_all_the_same(
    named_pool: Named,
) -> None:
    pool, names, a, b = named_pool.pool, named_pool.names, named_pool.a, named_pool.b
    await named_pool.both_are_asked()
    a.holds = b.holds = True
    open_asks = [asyncio.ensure_future(refused(pool, limit_ms=300)) for _ in range(2)]
    await until(lambda: len(b.asked) == 2)
    names.known["inference"] = {HOSTS[0]}
    await until(lambda: pool.up == 1)
    async with asyncio.timeout(5):
        assert await asyncio.gather(*open_asks) == [ProblemCode.DEADLINE_EXCEEDED] * 2
    await until(lambda: b.connections == 0)  # nothing is open there any more
    assert a.connections == 1


async def test_an_address_that_goes_before_its_connection_stands_is_left_then(
    tmp_path: Path,
) -> None:
    replica = FakeReplica(tmp_path / "r")
    await replica.start()
    link = ReplicaLink(replica.address, asyncio.get_running_loop())
    connecting = asyncio.ensure_future(link.keep_connected())
    await asyncio.sleep(0)  # the connection is on its way
    link.leave()
    try:
        async with asyncio.timeout(5):
            await connecting
        assert not link.usable
        await until(lambda: replica.connections == 0)
    finally:
        link.abort()
        await replica.stop()


async def test_without_a_name_server_the_addresses_known_last_stay_and_no_others(
    named_pool: Named,
) -> None:
    pool, names = named_pool.pool, named_pool.names
    await named_pool.both_are_asked()
    names.known["inference"] = {HOSTS[0]}
    await until(lambda: pool.up == 1)
    del names.known["inference"]
    await names.asked_anew()
    assert pool.up == 1
    assert (await send(pool)).body == b"a"
    names.known["inference"] = set(HOSTS)
    await named_pool.both_are_asked()
