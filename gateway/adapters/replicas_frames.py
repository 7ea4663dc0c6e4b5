"""The inference replicas over frames: the least busy is asked, a failed ask may be tried once more.

Replicas are a static list (``unix:///path``, ``tcp://host:port``); a name that resolves to many
addresses (a headless service) is many replicas, and is resolved again every few seconds.
"""

import asyncio
import math
import socket
from collections.abc import Awaitable, Callable, Sequence
from urllib.parse import urlsplit

from contracts.frames import Answer, Ask, FrameKind
from contracts.problems import ProblemCode
from gateway.adapters.replica_link import FAILED, ReplicaLink, ReplicaLost
from gateway.domain.queues import QUICK_NS, Queues
from gateway.metrics import REPLICA_EJECTIONS, REPLICAS_UP, RETRIES, UPSTREAM_SECONDS
from kit.clock import Clock
from kit.deadline import Deadline
from kit.problems import Problem
from kit.tasks import TaskOwner, periodic

LATE_S = 0.002
"""Timers of the loop go by whole milliseconds; one that is early would find nothing late."""
_NEVER = 1 << 63
BUDGET_MAX = 20.0
"""Second tries that may be saved up."""
LookUp = Callable[[str, int], Awaitable[set[str]]]
"""(name, port) → the IP addresses behind it now. Raises ``OSError``: nobody could be asked."""


async def system_look_up(name: str, port: int) -> set[str]:
    """What the machine's resolver says (``LookUp``)."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    return {str(entry[4][0]) for entry in found}


class ReplicasFrames:
    """``Replicas`` by the frame protocol."""

    def __init__(
        self,
        targets: Sequence[str],
        clock: Clock,
        *,
        service_token: str = "",
        items_max: int,
        bytes_max: int,
        retry_budget: float,
        resolve_s: float,
        look_up: LookUp = system_look_up,
    ) -> None:
        self._targets = tuple(targets)
        self._clock = clock
        self._service_token = service_token
        self._items_max = items_max
        self._bytes_max = bytes_max
        self._retry_budget = retry_budget
        self._resolve_s = resolve_s
        self._budget = BUDGET_MAX
        self._look_up = look_up
        self._found: dict[str, set[str]] = {}
        """What each name was last."""
        self._links: dict[str, ReplicaLink] = {}
        self._leaving: set[ReplicaLink] = set()
        """No longer among the addresses, but asks are open on them."""
        self.queues = Queues()
        self._tasks = TaskOwner()
        self._due_ns = _NEVER
        self._timer: asyncio.TimerHandle | None = None
        REPLICAS_UP.set_function(lambda: self.up)

    async def start(self) -> None:
        """Resolve, and try once to connect, so that the first caller of a gateway that was started
        again finds its replicas; absent ones are no error."""
        await self._resolve()
        if any(urlsplit(target).scheme != "unix" for target in self._targets):
            self._tasks.start(
                "replicas_resolve", periodic(self._resolve, self._resolve_s), restart=True
            )
        await asyncio.gather(*[link.tried.wait() for link in self._links.values()])

    async def stop(self) -> None:
        """Close every connection."""
        if self._timer is not None:
            self._timer.cancel()
        for link in self._every():
            link.abort()
        await self._tasks.stop()

    def adopt(self, link: ReplicaLink) -> None:
        """Use a link that somebody else keeps connected."""
        self._links[link.address] = link

    @property
    def up(self) -> int:
        """How many replicas take asks."""
        return sum(link.usable for link in self._links.values())

    async def ask(self, kind: FrameKind, ask: Ask, rows: int, deadline: Deadline) -> Answer:
        """Ask the least busy replica; once more another where nothing is lost by it.

        Raises ``Problem``: dependency-unavailable, overloaded, deadline-exceeded.
        """
        if self.queues.slow and (hopeless := self.hopeless(ask.target, deadline)):
            raise hopeless
        if self._budget < BUDGET_MAX:
            self._budget += self._retry_budget
        first = self._least_busy(None, ask.target)
        answer = await self._ask_one(first, kind, ask, rows, deadline)
        if answer is not None and not answer.retryable:
            return answer
        second = self._second(first, ask.target, deadline)
        if second is not None:
            ask = ask._replace(remaining_ms=max(1, int(deadline.remaining_ms())))
            again = await self._ask_one(second, kind, ask, rows, deadline)
            if answer is not None and again is not None and not again.retryable:
                first.pass_over(ask.target, self._clock.monotonic_ns())
            RETRIES.labels("ok" if again is not None and again.status < 500 else "failed").inc()
            answer = again or answer
        if answer is None:
            detail = "The inference replica went away, and no other can be asked."
            raise Problem(ProblemCode.DEPENDENCY_UNAVAILABLE, detail)
        return answer

    def hopeless(self, target: str, deadline: Deadline) -> Problem | None:
        """Why not to ask (overloaded) when the answer would come after the deadline.

        Look only while ``queues.slow`` is not empty.
        """
        now_ns = self._clock.monotonic_ns()
        wait_ns = self.queues.hopeless_ns(target, deadline.at_ns - now_ns, now_ns)
        if not wait_ns:
            return None
        detail = "The answer would come after the deadline."
        return Problem(ProblemCode.OVERLOADED, detail, retry_after_s=math.ceil(wait_ns / 1e9))

    async def _ask_one(
        self, link: ReplicaLink, kind: FrameKind, ask: Ask, rows: int, deadline: Deadline
    ) -> Answer | None:
        if deadline.at_ns < self._due_ns:
            self._look_at(deadline.at_ns)
        frame_id, pending = link.send(kind, ask, rows, deadline.at_ns)
        queue = self.queues.of(ask.target)
        ahead = queue.rows
        queue.rows += rows
        began_ns = self._clock.monotonic_ns()
        try:
            answer = await pending.future
            now_ns = self._clock.monotonic_ns()
            UPSTREAM_SECONDS.observe((now_ns - began_ns) / 1e9)
            if answer.status == 200:
                waited_ns = pending.held_ns + answer.spent_us * 1000
                if waited_ns < QUICK_NS:
                    queue.note_quick(rows, now_ns)
                else:
                    self.queues.note_slow(ask.target, rows, waited_ns, now_ns, ahead)
                if link.passed_over:
                    link.passed_over.pop(ask.target, None)
            elif answer.status == FAILED and link.eject(now_ns):
                REPLICA_EJECTIONS.inc()
            return answer
        except ReplicaLost:
            return None
        except TimeoutError:
            detail = "The inference replica did not answer in time."
            raise Problem(ProblemCode.DEADLINE_EXCEEDED, detail, stage="inference") from None
        except asyncio.CancelledError:
            link.cancel(frame_id)
            raise
        finally:
            queue.rows -= rows
            if not queue.known:
                self.queues.forget(ask.target)

    def _least_busy(self, other_than: ReplicaLink | None, target: str) -> ReplicaLink:
        usable = [k for k in self._links.values() if k.usable and k is not other_than]
        if not usable:
            detail = "No inference replica can be reached."
            raise Problem(ProblemCode.DEPENDENCY_UNAVAILABLE, detail)
        if len(usable) > 1:
            now_ns = self._clock.monotonic_ns()
            # When all are put aside, a bad replica is better than none.
            usable = [link for link in usable if link.ejected_until_ns <= now_ns] or usable
            usable = [link for link in usable if not link.behind] or usable
            usable = [link for link in usable if link.takes(target, now_ns)] or usable
        link = usable[0] if len(usable) == 1 else min(usable, key=lambda each: each.rows)
        if link.behind or link.items >= self._items_max or link.bytes >= self._bytes_max:
            raise Problem(ProblemCode.OVERLOADED, "Every inference replica is busy.")
        return link

    def _second(self, first: ReplicaLink, target: str, deadline: Deadline) -> ReplicaLink | None:
        if deadline.passed():
            return None
        if self._budget < 1:
            RETRIES.labels("no_budget").inc()
            return None
        try:
            second = self._least_busy(first, target)
        except Problem:
            return None
        self._budget -= 1
        return second

    def _look_at(self, due_ns: int) -> None:
        """Look for late answers at ``due_ns``: a periodic look would wake an idle gateway."""
        if self._timer is not None:
            self._timer.cancel()
        self._due_ns = due_ns
        wait_s = max(0.0, (due_ns - self._clock.monotonic_ns()) / 1e9) + LATE_S
        self._timer = asyncio.get_running_loop().call_later(wait_s, self._expire)

    def _expire(self) -> None:
        self._timer, self._due_ns = None, _NEVER
        now_ns = self._clock.monotonic_ns()
        for link in self._every():
            if link.expire(now_ns) and link.eject(now_ns):
                REPLICA_EJECTIONS.inc()
        dues = [link.next_due_ns for link in self._every() if link.next_due_ns]
        if dues:
            self._look_at(min(dues))

    async def _resolve(self) -> None:
        addresses: set[str] = set()
        for target in self._targets:
            addresses |= await self._addresses(target)
        loop = asyncio.get_running_loop()
        for address in addresses - self._links.keys():
            link = self._links[address] = ReplicaLink(address, loop, self._service_token)
            self._tasks.start(f"replica {address}", link.keep_connected, restart=True)
        for address in self._links.keys() - addresses:
            link = self._links.pop(address)
            link.leave()
            self._leaving.add(link)
        self._leaving = {link for link in self._leaving if link.items}

    def _every(self) -> tuple[ReplicaLink, ...]:
        return (*self._links.values(), *self._leaving)

    async def _addresses(self, target: str) -> set[str]:
        parts = urlsplit(target)
        if parts.scheme == "unix":
            return {target}
        try:
            hosts = await self._look_up(parts.hostname or "", parts.port or 0)
        except OSError:  # the name server is away; the replicas may not be
            return self._found.get(target, set())
        found = self._found[target] = {
            f"tcp://[{host}]:{parts.port}" if ":" in host else f"tcp://{host}:{parts.port}"
            for host in hosts
        }
        return found
