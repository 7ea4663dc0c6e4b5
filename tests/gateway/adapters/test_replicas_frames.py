import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from contracts.frames import Answer, FrameKind
from contracts.problems import ProblemCode
from gateway.adapters.replicas_frames import BUDGET_MAX, ReplicasFrames
from gateway.domain.queues import QUEUES_MAX
from kit.clock import SystemClock
from kit.deadline import Deadline
from kit.problems import Problem
from tests.gateway.adapters.asking import ask, named, refused, send
from tests.gateway.replica import FakeReplica
from tests.polling import until

Connect = Callable[..., ReplicasFrames]


@pytest.fixture
async def two(tmp_path: Path) -> AsyncIterator[tuple[FakeReplica, FakeReplica]]:
    replicas = FakeReplica(tmp_path / "a", named(b"a")), FakeReplica(tmp_path / "b", named(b"b"))
    for each in replicas:
        await each.start()
    yield replicas
    for each in replicas:
        await each.stop()


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    made: list[ReplicasFrames] = []

    def build(*replicas: FakeReplica, **options: float) -> ReplicasFrames:
        settings = {"items_max": 100, "bytes_max": 10**6, "retry_budget": 0.1, "resolve_s": 0.05}
        addresses = [replica.address for replica in replicas]
        pool = ReplicasFrames(addresses, SystemClock(), **(settings | options))  # type: ignore[arg-type]
        made.append(pool)
        return pool

    yield build
    for pool in made:
        await pool.stop()


async def test_a_gateway_that_has_started_is_connected_to_the_replicas_that_are_there(
    connect: Connect, two: tuple[FakeReplica, FakeReplica], tmp_path: Path
) -> None:
    absent = FakeReplica(tmp_path / "absent", named(b"absent"))
    pool = connect(*two, absent)
    await pool.start()
    assert pool.up == 2


async def test_the_least_busy_replica_is_asked(
    connect: Connect, two: tuple[FakeReplica, FakeReplica]
) -> None:
    pool = connect(*two)
    await pool.start()
    await until(lambda: pool.up == 2)
    for each in two:
        each.rule = lambda kind, asked: None
    big = asyncio.gather(send(pool, 1000), return_exceptions=True)
    await until(lambda: sum(len(each.asked) for each in two) == 1)
    busy = two[0] if two[0].asked else two[1]
    idle = two[1] if busy is two[0] else two[0]
    idle.rule = named(b"idle")
    assert [(await send(pool, 10)).body for _ in range(5)] == [b"idle"] * 5
    big.cancel()
    with pytest.raises(asyncio.CancelledError):
        await big
    await until(lambda: busy.cancelled == 1)


async def test_one_dead_replica_is_nobodys_business(
    connect: Connect, two: tuple[FakeReplica, FakeReplica]
) -> None:
    dies, lives = two
    pool = connect(*two)
    await pool.start()
    await until(lambda: pool.up == 2)
    dies.holds = lives.holds = True
    asked = [asyncio.ensure_future(send(pool)) for _ in range(10)]
    await until(lambda: (len(dies.asked), len(lives.asked)) == (5, 5))
    await dies.stop()
    await until(lambda: len(lives.asked) == 10)
    lives.let_go()
    assert [(await each).body for each in asked] == [b"b"] * 10
    assert {(await send(pool)).body for _ in range(5)} == {b"b"}
    await dies.start()
    await until(lambda: pool.up == 2)


async def test_what_is_retryable_is_asked_once_more_elsewhere(
    connect: Connect, two: tuple[FakeReplica, FakeReplica]
) -> None:
    pool = connect(*two)
    await pool.start()
    await until(lambda: pool.up == 2)
    two[0].rule = named(b"busy", retryable=True)
    assert {(await send(pool)).body for _ in range(6)} == {b"b"}
    two[1].rule = named(b"busy too", retryable=True)
    before = len(two[0].asked) + len(two[1].asked)
    assert (await send(pool)).status == 503
    assert len(two[0].asked) + len(two[1].asked) == before + 2


async def test_a_second_try_has_the_time_that_is_left(
    connect: Connect, two: tuple[FakeReplica, FakeReplica]
) -> None:
    pool = connect(*two)
    await pool.start()
    for each in two:
        each.rule = named(b"busy", retryable=True)
        each.delay_s = 0.05
    await send(pool, limit_ms=400)
    first, second = sorted(each.asked[0].remaining_ms for each in two)
    assert 0 < first <= 350
    assert second == 1000  # what the first was told: ``ask``'s own


async def test_second_tries_stay_within_their_budget(
    connect: Connect, two: tuple[FakeReplica, FakeReplica]
) -> None:
    pool = connect(*two)
    await pool.start()
    await until(lambda: pool.up == 2)
    for each in two:
        each.rule = named(b"busy", retryable=True)
    requests = 400
    for _ in range(requests):
        await send(pool)
    tries = len(two[0].asked) + len(two[1].asked)
    assert requests < tries <= requests * 1.1 + BUDGET_MAX


async def test_a_replica_that_refuses_at_once_draws_no_asks_from_one_that_answers(
    connect: Connect, two: tuple[FakeReplica, FakeReplica]
) -> None:
    pool = connect(*two)
    await pool.start()
    two[0].rule = named(b"not loaded yet", retryable=True)
    two[1].delay_s = 0.002
    answers = []
    for _ in range(40):  # by rows in flight the quick one is always the least busy
        answers += await asyncio.gather(*(send(pool) for _ in range(8)))
    assert {answer.body for answer in answers} == {b"b"}
    assert len(two[0].asked) < 20


async def asked_first(
    pool: ReplicasFrames, two: tuple[FakeReplica, FakeReplica]
) -> tuple[FakeReplica, FakeReplica]:
    """The one of two idle replicas that is asked, and the other."""
    await send(pool)
    return two if two[0].asked else two[::-1]


async def test_a_replica_that_refused_one_model_is_asked_for_others(
    connect: Connect, two: tuple[FakeReplica, FakeReplica]
) -> None:
    pool = connect(*two)
    await pool.start()
    first, second = await asked_first(pool, two)
    first.rule = lambda kind, asked: named(b"first", retryable=asked.target == "delay")(kind, asked)
    second.rule = named(b"second")
    assert {(await send(pool)).body for _ in range(5)} == {b"second"}
    other = ask()._replace(target="other")
    answer = await pool.ask(FrameKind.PREDICT, other, 1, Deadline.after_ms(2000))
    assert answer.body == b"first"


async def test_names_that_no_replica_serves_push_out_no_queue(
    connect: Connect, tmp_path: Path
) -> None:
    replica = FakeReplica(tmp_path / "a")
    await replica.start()
    pool = connect(replica)
    await pool.start()
    assert (await send(pool, target="m")).status == 200
    before = pool.queues.of("m")
    replica.rule = lambda kind, asked: Answer(404, b"")
    for start in range(0, QUEUES_MAX + 100, 100):
        names = [f"invented{number}" for number in range(start, start + 100)]
        answers = await asyncio.gather(*(send(pool, target=name) for name in names))
        assert {answer.status for answer in answers} == {404}
    assert pool.queues.of("m") is before
    await replica.stop()


async def test_a_replica_that_fails_at_once_is_put_aside(
    connect: Connect, two: tuple[FakeReplica, FakeReplica]
) -> None:
    pool = connect(*two)
    await pool.start()
    first, second = await asked_first(pool, two)
    first.rule = lambda kind, asked: Answer(500, b"broken")
    second.rule = named(b"second")
    for _ in range(5):
        assert (await send(pool)).body == b"broken"
    assert {(await send(pool)).body for _ in range(20)} == {b"second"}
    assert len(first.asked) == 1 + 5


async def test_no_replica_is_told_at_once(connect: Connect, tmp_path: Path) -> None:
    pool = connect(FakeReplica(tmp_path / "none"))
    await pool.start()
    assert await refused(pool) is ProblemCode.DEPENDENCY_UNAVAILABLE


async def test_more_in_flight_than_a_replica_may_have_is_refused(
    connect: Connect, two: tuple[FakeReplica, FakeReplica]
) -> None:
    pool = connect(two[0], items_max=2)
    await pool.start()
    await until(lambda: pool.up == 1)
    two[0].rule = lambda kind, asked: None
    held = asyncio.gather(send(pool), send(pool), return_exceptions=True)
    await until(lambda: len(two[0].asked) == 2)
    assert await refused(pool) is ProblemCode.OVERLOADED
    held.cancel()
    with pytest.raises(asyncio.CancelledError):
        await held


async def test_a_silent_replica_is_put_aside(
    connect: Connect, two: tuple[FakeReplica, FakeReplica]
) -> None:
    pool = connect(*two)
    await pool.start()
    await until(lambda: pool.up == 2)
    two[0].rule = lambda kind, asked: None
    while len(two[0].asked) < 5:
        outcomes = await asyncio.gather(
            *(send(pool, limit_ms=40) for _ in range(4)), return_exceptions=True
        )
        assert all(isinstance(o, Answer | Problem) for o in outcomes)
    await until(lambda: two[0].cancelled >= 5)
    asked = len(two[0].asked)
    assert {(await send(pool)).body for _ in range(10)} == {b"b"}
    assert len(two[0].asked) == asked


async def test_a_replica_that_drains_gets_nothing_new_and_answers_the_rest(
    connect: Connect, two: tuple[FakeReplica, FakeReplica]
) -> None:
    draining, other = two
    pool = connect(*two)
    await pool.start()
    await until(lambda: pool.up == 2)
    draining.holds = other.holds = True
    open_asks = [asyncio.ensure_future(send(pool)) for _ in range(4)]
    await until(lambda: (len(draining.asked), len(other.asked)) == (2, 2))
    other.let_go()
    draining.go_away()
    await until(lambda: pool.up == 1)
    assert {(await send(pool)).body for _ in range(10)} == {b"b"}
    assert (draining.connections, draining.cancelled, len(draining.asked)) == (1, 0, 2)
    draining.let_go()
    assert sorted([(await each).body for each in open_asks]) == [b"a", b"a", b"b", b"b"]
    # Then that connection closes, and it connects anew, to whoever listens there now.
    await until(lambda: pool.up == 2)
    assert {(await send(pool, 1000)).body for _ in range(10)} <= {b"a", b"b"}
    assert draining.connections == 1


async def test_a_replica_that_drains_is_left_when_its_last_ask_is_given_up(
    connect: Connect, two: tuple[FakeReplica, FakeReplica]
) -> None:
    pool = connect(two[0])
    await pool.start()
    await until(lambda: pool.up == 1)
    two[0].holds = True
    asking = asyncio.ensure_future(send(pool))
    await until(lambda: len(two[0].asked) == 1)
    two[0].go_away()
    await until(lambda: pool.up == 0)
    asking.cancel()
    await until(lambda: two[0].cancelled == 1 and pool.up == 1)


async def test_a_peer_that_speaks_no_frames_is_left(connect: Connect, tmp_path: Path) -> None:
    met = 0

    async def garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal met
        met += 1
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n" * 100)
        await reader.read()
        writer.close()

    server = await asyncio.start_unix_server(garbage, tmp_path / "g")
    pool = connect(FakeReplica(tmp_path / "g"))
    await pool.start()
    await until(lambda: met >= 2)
    server.close()


async def test_every_ask_ends_at_its_own_deadline_whatever_came_before(
    connect: Connect, two: tuple[FakeReplica, FakeReplica]
) -> None:
    pool = connect(two[0])
    await pool.start()
    await until(lambda: pool.up == 1)
    two[0].rule = lambda kind, asked: None
    loop, limits_ms = asyncio.get_running_loop(), (900.0, 60.0, 120.0)

    async def late_s(limit_ms: float) -> float:
        began = loop.time()
        assert await refused(pool, limit_ms=limit_ms) is ProblemCode.DEADLINE_EXCEEDED
        return loop.time() - began - limit_ms / 1000

    for limit_ms in (60.0, 30.0):  # one that is awaited alone, and one after a quiet time
        assert -0.002 <= await late_s(limit_ms) < 0.3
    assert all(-0.002 <= late < 0.3 for late in await asyncio.gather(*map(late_s, limits_ms)))
    assert pool._timer is None


async def test_a_replica_that_stops_reading_is_not_given_more_and_again_when_it_reads(
    connect: Connect, tmp_path: Path
) -> None:
    replica = FakeReplica(tmp_path / "slow", lambda kind, asked: None)
    readers: list[asyncio.StreamReader] = []

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        readers.append(reader)  # nothing is read: what is sent stays with the gateway
        await done.wait()
        writer.close()

    done = asyncio.Event()
    server = await asyncio.start_unix_server(take, replica.address.removeprefix("unix://"))
    pool = connect(replica, bytes_max=10**8)
    await pool.start()
    await until(lambda: pool.up == 1)
    large, deadline = ask(b" " * 1_000_000), Deadline.after_ms(20_000)
    asking = [
        asyncio.ensure_future(pool.ask(FrameKind.PREDICT, large, 1, deadline)) for _ in range(3)
    ]
    told: list[ProblemCode] = []
    while not told or told[-1] is not ProblemCode.OVERLOADED:
        told.append(await refused(pool, limit_ms=20))
    # A burst is no reason to refuse: only what lasts is.
    assert set(told[:-1]) == {ProblemCode.DEADLINE_EXCEEDED}
    await readers[0].readexactly(3_000_000)
    assert await refused(pool, limit_ms=20) == ProblemCode.DEADLINE_EXCEEDED
    for each in asking:
        each.cancel()
    await asyncio.gather(*asking, return_exceptions=True)
    done.set()
    server.close()
