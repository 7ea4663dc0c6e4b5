"""A world: how users of two versions fare, minute by minute; seeds repeat it."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class World:
    """One look is one minute in which ``users`` new users send a request each."""

    name: str
    error_rate: float = 0.01
    error_risk: float = 1.0
    """Relative risk of the candidate; 1 is A/A."""
    slow_rate: float = 0.02
    slow_risk: float = 1.0
    drift: float = 1.0
    """By what factor the base error rate has grown by the last look; the same for both."""
    users: int = 1000
    labelled: int = 0
    """Of the users, how many get a label; 0: no quality guard."""
    loss_shift: float = 0.0
    """Mean log-loss of the candidate above the baseline's."""
    day_spread: float = 0.0
    """Standard deviation between blocks of the difference of the arms: a day's labels are alike."""
    label_delay: int = 0
    """Looks until a label is known."""
    lost_share: float = 0.0
    """Share of the candidate's telemetry that is lost on the way."""


LOSS, LOSS_SPREAD = 0.50, 0.35
BLOCK_LOOKS = 5
"""Looks in one time block."""


@dataclass(slots=True)
class Minute:
    """What one look adds."""

    shown: tuple[int, int]
    """Users seen in telemetry, (baseline, candidate)."""
    errors: tuple[int, int]
    slow: tuple[int, int]
    losses: tuple[Floats, Floats]
    """Log-loss of each labelled user, by arm."""


class Draws:
    """The random course of one world; asked once a look, in order."""

    def __init__(self, world: World, seed: int, looks: int) -> None:
        self.world = world
        self._random = np.random.default_rng(seed)
        blocks = looks // BLOCK_LOOKS + 1
        self._day = self._random.normal(0.0, world.day_spread, blocks)
        self._looks = looks

    def minute(self, look: int, weight: float) -> Minute:
        """Users fall on the arms by ``weight``, and fare as the world says."""
        world, random = self.world, self._random
        canary = int(random.binomial(world.users, weight))
        users = (world.users - canary, canary)
        grown = world.drift ** (look / max(1, self._looks - 1))
        seen = (users[0], int(random.binomial(users[1], 1 - world.lost_share)))
        errors = self._bad(seen, world.error_rate * grown, world.error_risk)
        slow = self._bad(seen, world.slow_rate, world.slow_risk)
        return Minute(seen, errors, slow, self._losses(look, weight))

    def _bad(self, users: tuple[int, int], rate: float, risk: float) -> tuple[int, int]:
        return (
            int(self._random.binomial(users[0], min(1.0, rate))),
            int(self._random.binomial(users[1], min(1.0, rate * risk))),
        )

    def _losses(self, look: int, weight: float) -> tuple[Floats, Floats]:
        world, random = self.world, self._random
        canary = int(random.binomial(world.labelled, weight)) if world.labelled else 0
        worse = world.loss_shift + self._day[look // BLOCK_LOOKS]
        return (
            random.normal(LOSS, LOSS_SPREAD, world.labelled - canary),
            random.normal(LOSS + worse, LOSS_SPREAD, canary),
        )
