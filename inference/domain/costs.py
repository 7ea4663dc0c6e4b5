"""What a run of a model costs, learned from the runs."""


class RunCosts:
    """Recent seconds of a run by its size (in powers of two), exponentially weighted."""

    __slots__ = ("_seconds",)
    _SHARE = 0.1

    def __init__(self) -> None:
        self._seconds: dict[int, float] = {}

    def learn(self, rows: int, seconds: float) -> None:
        """A run of ``rows`` rows took this long."""
        size = rows.bit_length()
        known = self._seconds.get(size)
        self._seconds[size] = seconds if known is None else known + self._SHARE * (seconds - known)

    def seconds(self, rows: int) -> float:
        """Predicted seconds of a run of ``rows`` rows; infinite before anything was learned."""
        size = rows.bit_length()
        known = self._seconds.get(size)
        if known is not None:
            return known
        if not self._seconds:
            return float("inf")
        nearest = min(self._seconds, key=lambda other: abs(other - size))
        return self._seconds[nearest] * max(1.0, 2.0 ** (size - nearest))
