import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.problems import ProblemCode
from gateway.domain.gcra import Grant, Policy, lease, refund
from gateway.limit import Account, Limit, OverLimit
from gateway.ports import StoreAway
from kit.clock import FakeClock
from kit.problems import Problem
from kit.tasks import TaskOwner


class FakeStore:
    """A ``LeaseStore`` in memory, on the same fake clock; may be away."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self._tats: dict[str, int] = {}
        self.away = False
        self.asked = 0
        self.granted = 0

    async def lease(self, name: str, policy: Policy, wanted: int, least: int) -> Grant:
        """As Redis would."""
        await asyncio.sleep(0)
        self.asked += 1
        if self.away:
            raise StoreAway("away")
        now_us = self._clock.wall_us()
        grant = lease(policy, self._tats.get(name, 0), now_us, wanted, least)
        self._tats[name] = grant.tat_us
        self.granted += grant.rows
        return grant

    async def refund(self, name: str, policy: Policy, rows: int) -> None:
        """As Redis would."""
        if self.away:
            raise StoreAway("away")
        self._tats[name] = refund(policy, self._tats[name], rows)
        self.granted -= rows


Make = Callable[..., tuple[Limit, Account]]


@pytest.fixture
def store(fake_clock: FakeClock) -> FakeStore:
    return FakeStore(fake_clock)


@pytest.fixture
async def make(fake_clock: FakeClock, store: FakeStore) -> AsyncIterator[Make]:
    async with TaskOwner() as tasks:

        def build(quota: int, window_s: int, gateways: int = 1) -> tuple[Limit, Account]:
            limit = Limit(store, fake_clock, tasks, gateways)
            return limit, limit.account("ann", Policy(quota, window_s))

        yield build


async def refusal(limit: Limit, account: Account, rows: int) -> OverLimit:
    with pytest.raises(OverLimit) as caught:
        await limit.spend(account, rows)
    return caught.value


async def test_the_quota_is_spent_to_the_last_row_and_a_retry_at_the_time_told_succeeds(
    make: Make, fake_clock: FakeClock
) -> None:
    limit, account = make(5, 60)
    for left in (4, 3, 2, 1, 0):
        await limit.spend(account, 1)
        headers = dict(limit.headers(account))
        assert headers[b"ratelimit"].startswith(b'"default";r=%d;t=' % left)
        assert headers[b"ratelimit-policy"] == b'"default";q=5;w=60'
    refused = await refusal(limit, account, 1)
    assert (refused.code, refused.retry_after_s) == (ProblemCode.QUOTA_EXCEEDED, 12)
    fake_clock.advance_us(11_000_000)
    assert (await refusal(limit, account, 1)).retry_after_s == 1
    fake_clock.advance_us(1_000_000)
    await limit.spend(account, 1)


async def test_a_thousand_who_wait_for_one_lease_go_on_together(
    make: Make, store: FakeStore
) -> None:
    limit, account = make(1_000_000, 60)
    while account.lease_rows < 16_000:
        await limit.spend(account, account.rows + 1)
    assert limit.spend_now(account, account.rows)
    asked = store.asked
    waiting = [asyncio.create_task(limit.spend(account, 1)) for _ in range(1000)]
    turns = 0
    while not all(task.done() for task in waiting):
        await asyncio.sleep(0)
        turns += 1
    assert turns < 10
    assert store.asked == asked + 1


async def test_what_callers_wait_for_is_leased_at_once_however_small_leases_are(
    make: Make, store: FakeStore
) -> None:
    limit, account = make(1_000, 60)
    await asyncio.gather(*(limit.spend(account, 1) for _ in range(900)))
    assert store.asked <= 3  # for the first, for all who wait, and ahead of who comes next
    assert account.waiting_rows == 0


async def test_a_caller_that_leaves_while_it_waits_is_leased_nothing(
    make: Make, store: FakeStore
) -> None:
    limit, account = make(1_000, 60)
    asking = [asyncio.create_task(limit.spend(account, 1)) for _ in range(900)]
    await asyncio.sleep(0)
    for task in asking[1:]:
        task.cancel()
    await asyncio.wait(asking)
    await limit.spend(account, 1)
    assert store.granted <= 5
    assert account.waiting_rows == 0


class Counted(asyncio.Event):
    """Counts how often it looks at all who wait for it."""

    looks = 0

    def set(self) -> None:
        self.looks += 1
        super().set()


async def test_a_thousand_who_wait_for_one_refusal_are_looked_at_once(
    make: Make, store: FakeStore
) -> None:
    limit, account = make(5, 60)
    await limit.spend(account, 5)
    account.settled = Counted()
    account.settled.set()
    asked, account.settled.looks = store.asked, 0
    refusals = await asyncio.gather(*(refusal(limit, account, 1) for _ in range(1000)))
    assert {one.code for one in refusals} == {ProblemCode.QUOTA_EXCEEDED}
    assert store.asked == asked + 1
    assert account.settled.looks == 1


async def test_what_is_known_to_be_refused_is_not_asked_again(make: Make, store: FakeStore) -> None:
    limit, account = make(5, 60)
    for _ in range(5):
        await limit.spend(account, 1)
    await refusal(limit, account, 1)
    asked = store.asked
    for _ in range(50):
        await refusal(limit, account, 1)
    assert store.asked == asked


async def test_who_wants_more_than_who_was_refused_is_told_when_that_much_is_there(
    make: Make, fake_clock: FakeClock
) -> None:
    limit, account = make(60, 60)
    await limit.spend(account, 60)
    assert (await refusal(limit, account, 1)).retry_after_s == 1
    told = (await refusal(limit, account, 20)).retry_after_s
    assert told == 20
    fake_clock.advance_us(told * 1_000_000)
    await limit.spend(account, 20)


async def test_more_than_the_quota_in_one_request_is_another_problem(make: Make) -> None:
    limit, account = make(5, 60)
    assert (await refusal(limit, account, 6)).code is ProblemCode.COST_EXCEEDS_QUOTA


async def test_a_busy_caller_seldom_waits_for_the_store(make: Make, store: FakeStore) -> None:
    limit, account = make(600_000, 60)
    waited = 0
    for _ in range(5000):
        if not limit.spend_now(account, 1):
            waited += 1
            await limit.spend(account, 1)
        await asyncio.sleep(0)
    assert waited < 20
    assert store.asked < 50


async def test_an_idle_lease_goes_back(make: Make, store: FakeStore, fake_clock: FakeClock) -> None:
    limit, account = make(100_000, 60)
    for _ in range(50):
        await limit.spend(account, 1)
    assert store.granted > 50
    fake_clock.advance_us(2_000_000)
    await limit.return_idle()
    assert store.granted == 50


async def test_with_the_store_away_each_gateway_spends_its_share(
    make: Make, store: FakeStore, fake_clock: FakeClock
) -> None:
    limit, account = make(100, 60, gateways=4)
    store.away = True
    for _ in range(25):
        await limit.spend(account, 1)
    assert (await refusal(limit, account, 1)).code is ProblemCode.QUOTA_EXCEEDED
    assert store.asked == 1  # the breaker holds
    store.away = False
    fake_clock.advance_us(2_000_000)
    await limit.spend(account, 1)
    assert store.granted > 0


async def test_what_is_spent_while_a_lease_is_asked_for_takes_nothing_from_who_waits_for_it(
    make: Make, store: FakeStore
) -> None:
    limit, account = make(600_000, 60)
    await limit.spend(account, 1)
    limit.give_back(account, 9)
    large = asyncio.ensure_future(limit.spend(account, 1000))
    await asyncio.sleep(0)  # its lease is being asked for
    small = [asyncio.ensure_future(limit.spend(account, 1)) for _ in range(9)]
    assert not limit.spend_now(account, 1)
    assert b"-" not in dict(limit.headers(account))[b"ratelimit"]
    await asyncio.gather(large, *small)
    assert store.granted == account.rows + 1000 + 1


async def test_who_is_refused_or_leaves_keeps_nothing_of_the_lease(make: Make) -> None:
    limit, account = make(10, 60)
    await limit.spend(account, 10)
    limit.give_back(account, 5)
    refused = await refusal(limit, account, 7)
    assert refused.code is ProblemCode.QUOTA_EXCEEDED
    assert dict(refused.headers_of_limit)[b"ratelimit"] == b'"default";r=5;t=30'
    assert account.rows == 5
    account.refused_until_ns = 0
    leaving = asyncio.ensure_future(limit.spend(account, 7))
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    assert account.rows == 5


async def test_what_we_failed_is_given_back(make: Make) -> None:
    limit, account = make(5, 60)
    await limit.spend(account, 5)
    limit.give_back(account, 5)
    await limit.spend(account, 5)


@given(
    st.integers(1, 200),
    st.integers(1, 60),
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(1, 40), st.integers(0, 900_000)), max_size=60
    ),
)
async def test_gateways_together_never_exceed_the_limit(
    quota: int, window_s: int, steps: list[tuple[int, int, int]]
) -> None:
    clock = FakeClock()
    store = FakeStore(clock)
    policy = Policy(quota, window_s)
    began_us, spent = clock.wall_us(), 0
    async with TaskOwner() as tasks:
        limits = [Limit(store, clock, tasks, 4) for _ in range(4)]
        accounts = [limit.account("ann", policy) for limit in limits]
        for which, rows, wait_us in steps:
            clock.advance_us(wait_us)
            try:
                await limits[which].spend(accounts[which], min(rows, quota))
            except Problem:
                continue
            spent += min(rows, quota)
            allowed = quota + (clock.wall_us() - began_us) // policy.emission_us
            assert spent <= allowed
