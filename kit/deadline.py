"""A deadline: when an answer stops being worth anything."""

import time
from dataclasses import dataclass
from typing import Self


@dataclass(slots=True, eq=False)
class Deadline:
    """A point in monotonic time. Passed on as *remaining* milliseconds, never as an instant.

    Not frozen: one is made for each request, and a frozen one takes three times as long.
    """

    at_ns: int

    @classmethod
    def after_ms(cls, milliseconds: float) -> Self:
        """The deadline that many milliseconds from now."""
        return cls(time.monotonic_ns() + int(milliseconds * 1e6))

    def remaining_ms(self) -> float:
        """Milliseconds left; negative once it has passed."""
        return (self.at_ns - time.monotonic_ns()) / 1e6

    def remaining_s(self) -> float:
        """Seconds left, never below zero."""
        return max(0.0, (self.at_ns - time.monotonic_ns()) / 1e9)

    def passed(self) -> bool:
        """Whether it is too late."""
        return time.monotonic_ns() >= self.at_ns
