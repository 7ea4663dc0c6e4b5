"""How much may a caller ask? Rows are spent from leases that were debited in Redis before.

The sum of all leases never exceeds the limit, so neither does what is spent from them, and no
request waits for Redis while a lease lasts. With Redis away each of N gateways spends 1/N.
"""

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass, field

from contracts.problems import ProblemCode
from gateway.domain.exchange import Headers
from gateway.domain.gcra import Policy, lease
from gateway.metrics import LEASES, LOCAL_SHARES
from gateway.ports import LeaseStore, StoreAway
from kit.clock import Clock
from kit.problems import Problem
from kit.tasks import TaskOwner

LEASE_ROWS_MAX = 20_000
LEASE_QUICK_NS = 200_000_000
"""A lease that is spent sooner than this was too small, one that lasts ten times longer too big."""
IDLE_NS = 1_000_000_000
"""After this the rest of a lease goes back, so that other gateways can use it."""
BREAKER_NS = 1_000_000_000
ACCOUNTS_MAX = 100_000


class OverLimit(Problem):
    """Refused by a limit; ``headers_of_limit`` say what is left of it."""

    headers_of_limit: Headers = ()


def _settled() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event


@dataclass(slots=True, eq=False)
class Account:
    """What one gateway holds of one limit."""

    name: str
    policy: Policy
    policy_header: tuple[bytes, bytes]
    emission_us: int
    rows: int = 0
    """Leased and not spent; negative while more is asked for."""
    lease_rows: int = 1
    waiting_rows: int = 0
    """What those ask for together who wait for the store. It is leased with the next row asked for,
    however small leases are: a thousand would else wait for one lease after the other, while those
    who come anew spend of each before the woken do."""
    leased_ns: int = 0
    store_rows: int = 0
    """Left in the store at ``leased_ns``, before what has come back since."""
    used_ns: int = 0
    refused_rows: int = 0
    refused_until_ns: int = 0
    """So many rows are refused until then: the store said so, it need not be asked again."""
    local_tat_us: int = 0
    refill: asyncio.Task[None] | None = None
    settled: asyncio.Event = field(default_factory=_settled)
    """Unset while the store is asked. All who wait go on at once: a lock would wake them one a turn
    of the loop, the last of a thousand after seconds."""


class Limit:
    """Spends rows of accounts."""

    def __init__(self, store: LeaseStore, clock: Clock, tasks: TaskOwner, gateways: int) -> None:
        self._store = store
        self._clock = clock
        self._tasks = tasks
        self._gateways = gateways
        self._accounts: dict[str, Account] = {}
        self._broken_until_ns = 0
        self._lease_outcomes: dict[str, Callable[[], None]] = {
            outcome: LEASES.labels(outcome).inc for outcome in ("granted", "refused", "away")
        }

    def account(self, name: str, policy: Policy) -> Account:
        """The account of that name; a changed policy starts it anew."""
        known = self._accounts.get(name)
        if known is None or (known.policy is not policy and known.policy != policy):
            header = f'"default";q={policy.quota_rows};w={policy.window_s}'.encode()
            known = Account(name, policy, (b"ratelimit-policy", header), policy.emission_us)
            if len(self._accounts) >= ACCOUNTS_MAX:
                self._accounts.pop(next(iter(self._accounts)))
            self._accounts[name] = known
        return known

    def spend_now(self, account: Account, rows: int) -> bool:
        """Spend leased rows without waiting; False: ``spend`` has to ask for more."""
        left = account.rows - rows
        if left < 0:
            return False
        account.rows = left
        account.used_ns = self._clock.monotonic_ns()
        if left * 2 < account.lease_rows and account.refill is None and account.lease_rows > 1:
            account.refill = self._tasks.start("limit_refill", lambda: self._refill_ahead(account))
        return True

    async def spend(self, account: Account, rows: int) -> None:
        """Spend rows. Raises ``OverLimit`` (quota-exceeded, cost-exceeds-quota)."""
        try:
            await self._spend(account, rows)
        except OverLimit as over:
            over.headers_of_limit = self.headers(account)
            raise

    async def _spend(self, account: Account, rows: int) -> None:
        if rows > account.policy.quota_rows:
            detail = f"One request may ask for {account.policy.quota_rows} rows under this quota."
            raise OverLimit(ProblemCode.COST_EXCEEDS_QUOTA, detail)
        while not self.spend_now(account, rows):
            if account.settled.is_set():
                await self._borrow(account, rows)
                return
            account.waiting_rows += rows
            try:
                await account.settled.wait()
            finally:
                account.waiting_rows -= rows

    async def _borrow(self, account: Account, rows: int) -> None:
        """Spend rows first: what is left is nobody else's while the store is asked."""
        account.rows -= rows
        try:
            await self._refill(account, 0, owed=rows)
        except BaseException:
            account.rows += rows
            raise
        account.used_ns = self._clock.monotonic_ns()

    def give_back(self, account: Account, rows: int) -> None:
        """Return what a request cost that we failed."""
        account.rows += rows

    def give_back_after(self, problem: Problem, account: Account, rows: int) -> None:
        """Return what a request cost that no replica took.

        One that ran out of time was worked on: free, it would be a way around the limit.
        """
        if problem.code is not ProblemCode.DEADLINE_EXCEEDED:
            self.give_back(account, rows)

    async def _refill_ahead(self, account: Account) -> None:
        try:
            if account.settled.is_set():
                await self._refill(account, account.rows + 1)
        except Problem:
            pass  # whoever needs more than is left will be told
        finally:
            account.refill = None

    async def _refill(self, account: Account, rows: int, owed: int = 0) -> None:
        """Lease until ``rows`` are there; ``owed`` are spent already. Raises ``Problem``."""
        self._check_refused(account, rows - account.rows)
        account.settled.clear()
        try:
            await self._lease(account, rows, owed)
        finally:
            account.settled.set()

    def _check_refused(self, account: Account, least: int) -> None:
        """Raise ``OverLimit`` where the store is known to refuse so many rows.

        Before the account is unsettled: to settle it is to look at all who wait, and a thousand who
        wait for one refusal would look at each other, 1,000 x 1,000 times.
        """
        now_ns = self._clock.monotonic_ns()
        if now_ns < account.refused_until_ns and least >= account.refused_rows:
            more_ns = (least - account.refused_rows) * account.emission_us * 1000
            raise self._exceeded(account.refused_until_ns + more_ns - now_ns)

    async def _lease(self, account: Account, rows: int, owed: int) -> None:
        now_ns = self._clock.monotonic_ns()
        least = rows - account.rows
        self._size_lease(account, now_ns)
        waited_for = min(least + account.waiting_rows, LEASE_ROWS_MAX)
        wanted = max(least, waited_for, account.lease_rows - account.rows - owed)
        if now_ns < self._broken_until_ns:
            self._lease_locally(account, least)
            return
        try:
            grant = await self._store.lease(account.name, account.policy, wanted, least)
        except StoreAway:
            self._broken_until_ns = self._clock.monotonic_ns() + BREAKER_NS
            LOCAL_SHARES.set(1)
            self._lease_outcomes["away"]()
            self._lease_locally(account, least)
            return
        LOCAL_SHARES.set(0)
        account.leased_ns = self._clock.monotonic_ns()
        account.store_rows = grant.remaining_rows
        if grant.rows == 0:
            self._lease_outcomes["refused"]()
            account.refused_rows = least
            account.refused_until_ns = account.leased_ns + grant.retry_us * 1000
            raise self._exceeded(grant.retry_us * 1000)
        self._lease_outcomes["granted"]()
        account.rows += grant.rows

    def _size_lease(self, account: Account, now_ns: int) -> None:
        lasted_ns = now_ns - account.leased_ns
        ceiling = max(1, min(LEASE_ROWS_MAX, account.policy.quota_rows // 20))
        if lasted_ns < LEASE_QUICK_NS:
            account.lease_rows = min(account.lease_rows * 4, ceiling)
        elif lasted_ns > 10 * LEASE_QUICK_NS:
            account.lease_rows = max(1, min(account.lease_rows // 4, ceiling))

    def _lease_locally(self, account: Account, least: int) -> None:
        share = account.policy.share(self._gateways)
        now_us = self._clock.monotonic_ns() // 1000
        # One request may cost more than a share; it then waits for the whole share and spends it.
        asked = min(least, share.quota_rows)
        grant = lease(share, account.local_tat_us, now_us, asked, asked)
        if grant.rows == 0:
            raise self._exceeded(grant.retry_us * 1000)
        account.local_tat_us = grant.tat_us + (least - asked) * share.emission_us
        account.leased_ns = self._clock.monotonic_ns()
        account.store_rows = grant.remaining_rows
        account.rows += least

    @staticmethod
    def _exceeded(retry_ns: int) -> OverLimit:
        seconds = max(1, math.ceil(retry_ns / 1e9))
        detail = f"The rate limit is used up; it allows this again in {seconds} s."
        return OverLimit(ProblemCode.QUOTA_EXCEEDED, detail, retry_after_s=seconds)

    async def return_idle(self) -> None:
        """Give the rest of idle leases back. Run it periodically."""
        now_ns = self._clock.monotonic_ns()
        for account in list(self._accounts.values()):
            idle = now_ns - account.used_ns >= IDLE_NS and account.settled.is_set()
            if account.rows <= 0 or not idle:
                continue
            rows, account.rows, account.lease_rows = account.rows, 0, 1
            try:
                await self._store.refund(account.name, account.policy, rows)
            except StoreAway:
                continue  # lost to the caller, but never over the limit

    def headers(self, account: Account) -> Headers:
        """The headers ``RateLimit-Policy`` and ``RateLimit``.

        ``r`` counts what this gateway can know: its lease, and the store as it was seen last plus
        what has come back since; ``t`` is the seconds until all of the quota is back.
        """
        policy = account.policy
        elapsed_us = (self._clock.monotonic_ns() - account.leased_ns) // 1000
        left = account.rows + account.store_rows + elapsed_us // account.emission_us
        left = max(0, min(left, policy.quota_rows))
        full_s = -(-(policy.quota_rows - left) * account.emission_us // 1_000_000)
        return account.policy_header, (b"ratelimit", b'"default";r=%d;t=%d' % (left, full_s))
