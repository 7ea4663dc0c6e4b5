"""The life of a model version: which states there are and which moves between them are lawful."""

from enum import Enum


class State(Enum):
    """Where a version stands. Exactly one version of a model is ``production``, or none."""

    CANDIDATE = "candidate"
    SHADOW = "shadow"
    CANARY = "canary"
    PRODUCTION = "production"
    ARCHIVED = "archived"
    HALTED = "halted"
    ROLLED_BACK = "rolled_back"


_MOVES: dict[State, frozenset[State]] = {
    State.CANDIDATE: frozenset({State.SHADOW, State.CANARY, State.PRODUCTION, State.ARCHIVED}),
    State.SHADOW: frozenset(
        {State.CANDIDATE, State.CANARY, State.PRODUCTION, State.HALTED, State.ARCHIVED}
    ),
    State.CANARY: frozenset(
        {State.CANDIDATE, State.PRODUCTION, State.HALTED, State.ROLLED_BACK, State.ARCHIVED}
    ),
    State.PRODUCTION: frozenset({State.ARCHIVED, State.ROLLED_BACK}),
    State.ARCHIVED: frozenset({State.CANDIDATE, State.PRODUCTION}),
    State.HALTED: frozenset({State.CANDIDATE, State.SHADOW, State.CANARY, State.ARCHIVED}),
    State.ROLLED_BACK: frozenset({State.CANDIDATE, State.SHADOW, State.CANARY, State.ARCHIVED}),
}


BY_ROLLOUT = frozenset({State.CANARY, State.HALTED, State.ROLLED_BACK})
"""What only a rollout brings a version to."""


class UnlawfulMove(ValueError):
    """The state machine has no such transition."""

    def __init__(self, current: State, wanted: State) -> None:
        reachable = ", ".join(sorted(state.value for state in _MOVES[current] - BY_ROLLOUT))
        super().__init__(
            f"this version is {current.value} and cannot become {wanted.value}; it may become: "
            f"{reachable}"
        )
        self.current = current
        self.wanted = wanted


def may_move(current: State, wanted: State) -> bool:
    """Whether the state machine has that transition."""
    return wanted in _MOVES[current]


def check_move(current: State, wanted: State) -> None:
    """Raises ``UnlawfulMove`` unless ``may_move``."""
    if not may_move(current, wanted):
        raise UnlawfulMove(current, wanted)
