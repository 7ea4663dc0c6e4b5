"""What an act changes beyond the rollout itself: the route, and the states of both versions.

Every function gives all of it as one value, so that it is kept in one transaction or not at all.
"""

from dataclasses import dataclass

from contracts.routing import ModelRoute
from registry.domain.lifecycle import State
from registry.domain.promotion import Refused
from registry.domain.rollout import Rollout, Status
from registry.domain.traffic import (
    only,
    production_of,
    with_canary,
    with_shadow,
    with_warm,
    without,
)
from registry.domain.version import VersionRecord


@dataclass(frozen=True, slots=True)
class Scene:
    """A rollout with everything around it that it may change."""

    rollout: Rollout
    route: ModelRoute
    candidate: VersionRecord
    baseline: VersionRecord

    def after(
        self,
        rollout: Rollout,
        route: ModelRoute | None = None,
        candidate: VersionRecord | None = None,
        baseline: VersionRecord | None = None,
    ) -> "Scene":
        """The scene with what changed."""
        return Scene(
            rollout, route or self.route, candidate or self.candidate, baseline or self.baseline
        )


def begun(scene: Scene) -> Scene:
    """The candidate is loaded everywhere before anything else."""
    return scene.after(scene.rollout, with_warm(scene.route, scene.rollout.candidate))


def advanced(scene: Scene, now_us: int, reason: str) -> Scene:
    """One place further: into shadow, to the next weight, or to the end."""
    rollout, version = scene.rollout, scene.rollout.candidate
    if rollout.status == "warming" and rollout.plan.shadow is not None:
        return scene.after(
            rollout.entered(0, now_us),
            with_shadow(scene.route, version, rollout.id),
            _moved(scene.candidate, State.SHADOW, now_us, reason),
        )
    following = rollout.next_step
    if following is None:
        return _promoted(scene, now_us, reason)
    route = with_canary(
        scene.route,
        version,
        following.weight,
        salt=rollout.salt,
        rollout_id=rollout.id,
        step=rollout.step + 1,
    )
    return scene.after(
        rollout.entered(rollout.step + 1, now_us),
        route,
        _moved(scene.candidate, State.CANARY, now_us, reason),
    )


def _promoted(scene: Scene, now_us: int, reason: str) -> Scene:
    rollout = scene.rollout
    warm_until_us = now_us + rollout.plan.keep_warm_s * 1_000_000
    ended = rollout.ended("promoted", now_us, reason)
    return scene.after(
        ended.model_copy(update={"warm_until_us": warm_until_us}),
        only(rollout.candidate, (*scene.route.warm, rollout.baseline), scene.route.shadows),
        _moved(scene.candidate, State.PRODUCTION, now_us, reason),
        _moved(scene.baseline, State.ARCHIVED, now_us, reason),
    )


def taken_back(scene: Scene, status: Status, now_us: int, reason: str) -> Scene:
    """All traffic to the baseline, which is still loaded; the candidate stands as ``status``."""
    rollout, version = scene.rollout, scene.rollout.candidate
    state = {"rolled_back": State.ROLLED_BACK, "halted": State.HALTED}.get(status, State.CANDIDATE)
    record = scene.candidate
    if record.state in (State.SHADOW, State.CANARY):
        if record.state is State.SHADOW and state is State.ROLLED_BACK:
            state = State.HALTED  # it never took traffic that could be rolled back
        record = _moved(record, state, now_us, reason)
    kept = only(rollout.baseline, scene.route.warm, scene.route.shadows)
    return scene.after(rollout.ended(status, now_us, reason), without(kept, version), record)


def undone(scene: Scene, now_us: int, reason: str) -> Scene:
    """A finished promotion is taken back while the old version is still loaded.

    Raises ``Refused`` when it no longer is, or when something else serves by now.
    """
    rollout = scene.rollout
    if production_of(scene.route) != rollout.candidate:
        raise Refused(f"version {rollout.candidate} is not what serves now")
    if rollout.baseline not in scene.route.warm:
        raise Refused(
            f"version {rollout.baseline} is no longer loaded; bring it back by an override"
        )
    return scene.after(
        rollout.ended("rolled_back", now_us, reason).model_copy(update={"warm_until_us": None}),
        without(only(rollout.baseline, scene.route.warm, scene.route.shadows), rollout.candidate),
        _moved(scene.candidate, State.ROLLED_BACK, now_us, reason),
        _moved(scene.baseline, State.PRODUCTION, now_us, reason),
    )


def cooled(scene: Scene) -> Scene:
    """The replaced version need not stay loaded any more."""
    rollout = scene.rollout.changed(warm_until_us=None)
    serving = {arm.version for arm in scene.route.arms} | set(scene.route.shadows)
    if rollout.baseline in serving or rollout.baseline not in scene.route.warm:
        return scene.after(rollout)
    return scene.after(rollout, without(scene.route, rollout.baseline))


def _moved(record: VersionRecord, state: State, now_us: int, reason: str) -> VersionRecord:
    return record if record.state is state else record.moved(state, now_us, reason)
