"""How long would one more ask wait? From what those before it waited: no rate, no clock.

What found ``ahead`` rows before it and took ``took_ns`` says that rows go at that pace; what finds
fewer or more now waits in proportion. Only the quickest answers of the last moments count: behind a
queue all of them are slow, while a pause, a slow canary or an answer of many rows leaves quick ones
beside it. And it is believed only where those answers took a third of the time that there is:
latency that is no queue (a model of 60 ms, a slow store) does not grow with what is ahead.
"""

from dataclasses import dataclass

QUICK_NS = 20_000_000
"""What is answered sooner waited in no queue worth a refusal."""
WINDOW_NS = 50_000_000
FRESH_NS = 1_000_000_000
"""After so long without an answer nothing is known."""
PROVEN_SHARE = 0.33
HOPELESS_SHARE = 0.6
"""Of the time that is left. Less than inference's own share (0.9): its refusals come behind what it
computes, and the pace swings by a third from moment to moment. A queue that long keeps every
replica busy all the same."""
QUEUES_MAX = 1_000


@dataclass(slots=True, eq=False)
class Queue:
    """Rows of one target that were asked and not answered."""

    rows: int = 0
    quick_ns: int = 0
    """When an answer was last quick."""
    slow_ns: int = 0
    """When the last slow answer came; the windows count from ``_since_ns``."""
    _since_ns: int = 0
    _took_ns: int = 0
    _ahead: int = 1
    _before_took_ns: int = 0
    _before_ahead: int = 1

    def note_slow(self, ahead: int, took_ns: int, now_ns: int) -> None:
        """Learn from an answer that was not quick."""
        self.slow_ns = now_ns
        if now_ns - self._since_ns > WINDOW_NS:
            fresh = now_ns - self._since_ns < FRESH_NS
            self._before_took_ns = self._took_ns if fresh else took_ns
            self._before_ahead = self._ahead if fresh else ahead
            self._since_ns, self._took_ns, self._ahead = now_ns, took_ns, ahead
        elif took_ns < self._took_ns:
            self._took_ns, self._ahead = took_ns, ahead

    def is_slow(self, now_ns: int) -> bool:
        """Whether every answer of the last moments was slow, and there were some."""
        return self.slow_ns - self.quick_ns > WINDOW_NS and now_ns - self.slow_ns < FRESH_NS

    def hopeless_ns(self, left_ns: int) -> int:
        """The predicted wait where it leaves too little of ``left_ns``; else 0."""
        took_ns, ahead = self._took_ns, self._ahead
        if self._before_took_ns < took_ns:
            took_ns, ahead = self._before_took_ns, self._before_ahead
        if took_ns <= PROVEN_SHARE * left_ns:
            return 0
        wait_ns = took_ns * self.rows // ahead
        return wait_ns if wait_ns > HOPELESS_SHARE * left_ns else 0


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

    def note_slow(self, target: str, ahead: int, took_ns: int, now_ns: int) -> None:
        """Learn from an answer that was not quick."""
        queue = self.of(target)
        queue.note_slow(ahead, took_ns, now_ns)
        if len(self.slow) < QUEUES_MAX:
            self.slow[target] = queue

    def hopeless_ns(self, target: str, left_ns: int, now_ns: int) -> int:
        """The predicted wait of an ask that cannot be answered in time; 0 where it may be."""
        queue = self.slow.get(target)
        if queue is None:
            return 0
        if not queue.is_slow(now_ns):
            if now_ns - queue.slow_ns > FRESH_NS or queue.quick_ns > queue.slow_ns:
                del self.slow[target]
            return 0
        return queue.hopeless_ns(left_ns)
