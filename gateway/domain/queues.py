"""How long would one more ask wait? As long as the rows before it take at the present rate.

By Little's law that is what is in flight by what is answered a second. The rate is the one of the
last moments, for it swings by a third from one to the next, and what an answer has waited says how
it was when it was asked. It is known only behind a queue, where answers come as fast as they can:
as long as most of the last answers were quick, nobody is refused. What counts is how long the
replica had no room for an ask, and what it then spent: where it is this gateway that is behind, to
refuse costs about what an answer does. What an ask waits in the socket between the two nobody sees,
so a few answers seem quick though there is a queue; those few prove nothing. And what an answer
takes behind no queue (a model of 60 ms, a slow store) is no reason to refuse: it is taken off both
the wait and the time there is.

What is ahead of an ask counts, not what the last answers waited: in an overload that begins, the
queue has doubled by the time that somebody who waited in it is answered. A second forecast is what
the last answers waited for each row ahead of them; the lesser of both is believed, for a rate alone
may be that of a pause, or of callers who asked for no more.

A queue may grow long once, for a crowd may leave as it came. While somebody is refused it is kept
shorter: a long one serves nobody better, and where the pace falls all who wait in it come too late.
Those with far more time than who was refused may wait on.
"""

from dataclasses import dataclass

QUICK_NS = 20_000_000
"""What is answered sooner waited in no queue worth a refusal."""
WINDOW_NS = 50_000_000
FRESH_NS = 1_000_000_000
"""After so long without an answer nothing is known."""
HOPELESS_SHARE = 0.3
"""Of the time that is left beyond the base: who would wait longer is refused. Less than inference's
own share (0.9): its refusals come behind what it computes, and the pace may halve from one moment
to the next."""
OVERLOAD_SHARE = 0.15
"""Likewise, within ``FRESH_NS`` of the refusal of an ask with half the time or more."""
_FALL = 0.5
"""How much of a slower window is believed: answers come in batches. A faster one is, at once."""
_KEPT = 0.5
"""How much what was waited in one window counts in the next: one of few answers says little."""
_RISE = 0.3
"""How much of a longer answer is believed that found nothing in flight: it may have met the asks of
another gateway."""
QUEUES_MAX = 1_000


@dataclass(slots=True, eq=False)
class Queue:
    """Rows of one target that were asked and not answered."""

    rows: int = 0
    quick_ns: int = 0
    """When most answers were last quick."""
    slow_ns: int = 0
    """When the last slow answer came; a window counts from ``_since_ns``."""
    _since_ns: int = 0
    _done: int = 0
    _quick: int = 0
    """Rows answered in this window, slowly and quickly."""
    _done_before: int = 0
    _quick_before: int = 0
    _waited_ns: float = 0.0
    _ahead: float = 0.0
    """What slow answers waited together beyond the base, and for how many rows ahead of them."""
    _rate: float = 0.0
    """Rows a nanosecond; 0 while unknown."""
    _base_ns: int = 0
    """What an answer takes behind no queue."""
    _refused_ns: int = -FRESH_NS
    _refused_left_ns: int = 0
    """When an ask was last refused, and the time that it had."""

    def note_slow(self, rows: int, took_ns: int, now_ns: int, ahead: int) -> None:
        """Learn from an answer that was not quick, of so many rows.

        ``ahead``: the rows in flight when it was asked.
        """
        self.slow_ns = now_ns
        elapsed_ns = now_ns - self._since_ns
        if elapsed_ns > WINDOW_NS:
            if elapsed_ns < FRESH_NS:
                self._rate = self._rate_after(elapsed_ns)
                self._done_before, self._quick_before = self._done, self._quick
            else:
                self._rate = self._waited_ns = self._ahead = 0.0
                self._done_before = self._quick_before = 0
                # After a pause nothing is queued, and after quick answers the base is theirs.
                quick = now_ns - self.quick_ns < FRESH_NS
                self._base_ns = QUICK_NS if quick else took_ns
            self._since_ns, self._done, self._quick = now_ns, 0, 0
            self._waited_ns *= _KEPT
            self._ahead *= _KEPT
        if took_ns < self._base_ns:
            self._base_ns = took_ns
        elif not ahead:  # the version may be another, which takes longer
            self._base_ns += int(_RISE * (took_ns - self._base_ns))
        if ahead:
            self._waited_ns += took_ns - self._base_ns
            self._ahead += ahead
        self._done += rows

    def note_quick(self, rows: int, now_ns: int) -> None:
        """Learn from a quick answer, of so many rows.

        On the word of a single one a whole crowd would be let in.
        """
        self._quick += rows
        if self._quick + self._quick_before > self._done + self._done_before:
            self.quick_ns = now_ns

    def _rate_after(self, elapsed_ns: int) -> float:
        rate, latest = self._rate, (self._done + self._quick) / elapsed_ns
        return latest if latest > rate else rate + _FALL * (latest - rate)

    @property
    def known(self) -> bool:
        """Whether somebody is in flight, or ever was answered."""
        return bool(self.rows or self.quick_ns or self.slow_ns)

    def is_slow(self, now_ns: int) -> bool:
        """Whether most answers of the last moments were slow, and there were some."""
        return self.slow_ns - self.quick_ns > WINDOW_NS and now_ns - self.slow_ns < FRESH_NS

    def hopeless_ns(self, left_ns: int, now_ns: int) -> int:
        """The predicted wait where it leaves too little of ``left_ns``; else 0."""
        spare_ns = left_ns - self._base_ns
        fresh = now_ns - self._refused_ns < FRESH_NS and left_ns < 2 * self._refused_left_ns
        wait_ns = self._wait_ns()
        if wait_ns - self._base_ns <= (OVERLOAD_SHARE if fresh else HOPELESS_SHARE) * spare_ns:
            return 0
        self._refused_ns, self._refused_left_ns = now_ns, left_ns
        return wait_ns

    def _wait_ns(self) -> int:
        """The lesser of both forecasts; 0 where there are not two."""
        if not self._rate or not self._ahead:
            return 0
        waited = self._waited_ns / self._ahead
        return int(min(self.rows / self._rate, self._base_ns + self.rows * waited))


class Queues:
    """The queue of every target: a model's name, or a call of the Open Inference Protocol."""

    def __init__(self) -> None:
        self._queues: dict[str, Queue] = {}
        self.slow: dict[str, Queue] = {}
        """Those that may be; empty in quiet times, and then nothing else is looked at."""

    def of(self, target: str) -> Queue:
        """The queue of that target."""
        queue = self._queues.get(target)
        if queue is None:
            if len(self._queues) >= QUEUES_MAX:
                self._queues.pop(next(iter(self._queues)))
            queue = self._queues[target] = Queue()
        return queue

    def forget(self, target: str) -> None:
        """A name that nobody was answered under: invented ones must not push out real ones."""
        self._queues.pop(target, None)

    def note_slow(self, target: str, rows: int, took_ns: int, now_ns: int, ahead: int) -> None:
        """Learn from an answer that was not quick, as ``Queue.note_slow``."""
        queue = self.of(target)
        queue.note_slow(rows, took_ns, now_ns, ahead)
        if len(self.slow) < QUEUES_MAX:
            self.slow[target] = queue

    def hopeless_ns(self, target: str, left_ns: int, now_ns: int) -> int:
        """The predicted wait of an ask that cannot be answered in time; 0 where it may be."""
        queue = self.slow.get(target)
        if queue is None:
            target = next(iter(self.slow), "")
            if target and now_ns - self.slow[target].slow_ns > FRESH_NS:
                del self.slow[target]  # else one that is never asked again would stay for good
            return 0
        if not queue.is_slow(now_ns):
            if now_ns - queue.slow_ns > FRESH_NS or queue.quick_ns > queue.slow_ns:
                del self.slow[target]
            return 0
        return queue.hopeless_ns(left_ns, now_ns)
