"""The generic cell rate algorithm in integer microseconds (ITU-T I.371, the virtual scheduler).

One number is the whole state: the theoretical arrival time (TAT), at which the bucket will be full
again. The Lua script of ``adapters/leases_redis.py`` computes the same; a test compares the two.
"""

from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class Policy:
    """``quota_rows`` at once, brought back evenly over ``window_s`` seconds."""

    quota_rows: int
    window_s: int

    @property
    def emission_us(self) -> int:
        """Microseconds that bring back one row; rounded up, so that the quota is never exceeded."""
        return -(-self.window_s * 1_000_000 // self.quota_rows)

    def share(self, gateways: int) -> "Policy":
        """What one of so many gateways may spend alone when they cannot agree."""
        return Policy(max(1, self.quota_rows // gateways), self.window_s)


class Grant(NamedTuple):
    """The outcome of asking for rows."""

    rows: int
    """Granted; 0 is a refusal."""
    tat_us: int
    remaining_rows: int
    retry_us: int
    """After this many microseconds the least that was asked for will be granted; 0 if granted."""


def lease(policy: Policy, tat_us: int, now_us: int, wanted: int, least: int) -> Grant:
    """Debit ``wanted`` rows, or as many as there are, but not fewer than ``least``."""
    emission_us = policy.emission_us
    ahead_us = max(0, tat_us - now_us)
    available = (policy.quota_rows * emission_us - ahead_us) // emission_us
    if available < least:
        retry_us = ahead_us + least * emission_us - policy.quota_rows * emission_us
        return Grant(0, tat_us, max(0, available), retry_us)
    granted = min(wanted, available)
    return Grant(granted, now_us + ahead_us + granted * emission_us, available - granted, 0)


def refund(policy: Policy, tat_us: int, rows: int) -> int:
    """The TAT after ``rows`` were given back."""
    return tat_us - rows * policy.emission_us
