"""How fast rows are answered, and so how long one that arrives now would wait."""

_WINDOW_NS = 20_000_000
_QUEUEING_S = 0.05
_SHARE = 0.3


class Pace:
    """Rows a second while busy, learned from what was answered.

    By Little's law a row that finds ``pending`` rows before it waits pending / rate. The rate goes
    up with every faster window, and down only in windows that queued for 50 ms or more: a quiet
    hour must not make the next burst look hopeless.
    """

    def __init__(self) -> None:
        self.pending = 0
        """Rows accepted and not answered."""
        self._rate = 0.0
        self._since_ns = 0
        self._done = 0

    def accept(self, rows: int, now_ns: int) -> None:
        """Rows begin to wait."""
        if not self.pending:
            self._since_ns, self._done = now_ns, 0
        self.pending += rows

    def answer(self, rows: int, now_ns: int) -> None:
        """Rows were answered (or refused)."""
        self.pending -= rows
        self._done += rows
        elapsed_ns = now_ns - self._since_ns
        if elapsed_ns < _WINDOW_NS:
            return
        rate = self._done * 1e9 / elapsed_ns
        self._since_ns, self._done = now_ns, 0
        if rate > self._rate or self.pending > rate * _QUEUEING_S:
            self._rate += (_SHARE if self._rate else 1.0) * (rate - self._rate)

    def wait_s(self, rows: int = 0) -> float:
        """Predicted seconds until ``rows`` rows that arrive now are answered; 0 before anything
        was learned."""
        return (self.pending + rows) / self._rate if self._rate else 0.0
