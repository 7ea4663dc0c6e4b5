"""How fast rows are answered, and so how long one that arrives now would wait."""

_WINDOW_NS = 50_000_000
"""Rows are answered in batches: a shorter window holds one of them more or less by chance."""
_QUEUEING_S = 0.05
_SHARE = 0.3


class Pace:
    """Rows of one model a second while busy, learned from what was answered.

    By Little's law a row that finds ``pending`` rows before it waits pending / rate. The rate goes
    up with every faster window, and down only in windows that queued for 50 ms or more: a quiet
    hour must not make the next burst look hopeless. Busy spells that are shorter than a window and
    faster than the rate add up to one: who is refused because of a pause makes the spells short.
    """

    def __init__(self) -> None:
        self.pending = 0
        """Rows accepted and not answered."""
        self.proven = False
        """Whether rows have ever queued: before, the rate is what was asked for, not what can be
        done, and refuses nobody."""
        self._rate = 0.0
        self._since_ns = 0
        self._done = 0
        self._carried_ns = 0
        """How long the spells before this one took that count with it."""

    def accept(self, rows: int, now_ns: int) -> None:
        """Rows begin to wait."""
        if not self.pending:
            self._since_ns = now_ns - self._carried_ns
        self.pending += rows

    def answer(self, rows: int, now_ns: int) -> None:
        """Rows were answered (or refused)."""
        self.pending -= rows
        self._done += rows
        elapsed_ns = now_ns - self._since_ns
        if elapsed_ns < _WINDOW_NS:
            if not self.pending:
                self._end_spell(elapsed_ns)
            return
        rate = self._done * 1e9 / elapsed_ns
        self._since_ns, self._done, self._carried_ns = now_ns, 0, 0
        queued = self.pending > rate * _QUEUEING_S
        if queued and not self.proven:
            self.proven, self._rate = True, rate
        elif rate > self._rate or queued:
            self._rate += (_SHARE if self._rate else 1.0) * (rate - self._rate)

    def _end_spell(self, elapsed_ns: int) -> None:
        faster = self.proven and self._done * 1e9 > self._rate * elapsed_ns
        self._carried_ns, self._done = (elapsed_ns, self._done) if faster else (0, 0)

    def wait_s(self, rows: int = 0) -> float:
        """Predicted seconds until ``rows`` rows that arrive now are answered; 0 before anything
        was learned."""
        return (self.pending + rows) / self._rate if self._rate else 0.0

    def late(self, rows: int, seconds: float) -> bool:
        """Whether ``rows`` rows that arrive now are predicted to take longer than that."""
        return self.proven and self.wait_s(rows) > seconds


_NEW = Pace()


class Paces:
    """The pace of every model: a slow one says nothing about the others."""

    def __init__(self) -> None:
        self._paces: dict[str, Pace] = {}
        self.pending = 0
        """Rows of all models that were accepted and not answered."""

    def of(self, model: str) -> Pace:
        """The pace of a model that is served."""
        pace = self._paces.get(model)
        if pace is None:
            pace = self._paces[model] = Pace()
        return pace

    def known(self, model: str) -> Pace:
        """The pace of whatever was asked for; one that never refuses where nothing is known."""
        return self._paces.get(model, _NEW)

    def accept(self, model: str, rows: int, now_ns: int) -> None:
        """Rows of a served model begin to wait."""
        self.of(model).accept(rows, now_ns)
        self.pending += rows

    def answer(self, model: str, rows: int, now_ns: int) -> None:
        """Rows were answered (or refused)."""
        self.of(model).answer(rows, now_ns)
        self.pending -= rows

    def none_late(self, rows: int, seconds: float) -> bool:
        """Whether ``rows`` rows that arrive now are late for no model whatever."""
        for pace in self._paces.values():  # noqa: SIM110 - half of any()'s cost, for one model
            if pace.late(rows, seconds):
                return False
        return True

    def wait_s(self) -> float:
        """The longest of the predicted waits."""
        return max([pace.wait_s() for pace in self._paces.values()], default=0.0)
