"""A single, manual state change of a version: what else changes with it, or why it is refused.

A version that serves may only be retired here, and then nothing of its model answers. Replacing it
is a rollout's business (``registry.domain.rollout``).
"""

from dataclasses import dataclass

from contracts.routing import ModelRoute
from registry.domain.lifecycle import State, check_move
from registry.domain.traffic import only, with_shadow, without
from registry.domain.version import VersionRecord


class Refused(ValueError):
    """The change is lawful for the state machine and unwise now; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Change:
    """The version after the move, and the route after it (None: nothing of the model serves)."""

    record: VersionRecord
    route: ModelRoute | None


def move(
    record: VersionRecord, to: State, *, route: ModelRoute | None, at_us: int, reason: str
) -> Change:
    """The change that brings ``record`` to ``to``. Raises ``UnlawfulMove`` or ``Refused``."""
    check_move(record.state, to)
    return Change(record.moved(to, at_us, reason), _route_after(record, to, route))


def _route_after(record: VersionRecord, to: State, route: ModelRoute | None) -> ModelRoute | None:
    version = record.version
    if to is State.PRODUCTION:
        if route is not None and route.arms:
            raise Refused(
                "another version is in production; replace it by a rollout, or by an override"
            )
        return only(version)
    if to is State.CANARY:
        raise Refused("a canary is started as a rollout, with a plan and guards")
    if to is State.SHADOW:
        if route is None or not route.arms:
            raise Refused("a shadow needs a version in production to run beside")
        return with_shadow(route, version)
    if record.state is State.PRODUCTION:
        if to is not State.ARCHIVED:
            raise Refused("the version that serves is replaced by a rollout, or archived")
        if route is not None and route.shadows:
            beside = ", ".join(route.shadows)
            raise Refused(f"version {beside} runs in its shadow; move that to candidate first")
        return None
    if route is None or version not in route.versions():
        return route
    return without(route, version)
