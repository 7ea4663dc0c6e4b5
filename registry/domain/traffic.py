"""How a model's route changes: every function takes a route and gives the next one.

The first arm is production; what is not first takes the lowest buckets (``contracts.routing``).
"""

from collections.abc import Iterable, Sequence

from contracts.routing import Arm, ModelRoute

BUCKETS = 10_000


def serving(version: str) -> Arm:
    """The arm that answers alone."""
    return Arm(version=version, variant="production", weight=1.0)


def production_of(route: ModelRoute | None) -> str | None:
    """The version of the first arm, or None when nothing serves."""
    return route.arms[0].version if route and route.arms else None


def only(version: str, warm: Iterable[str] = (), shadows: Iterable[str] = ()) -> ModelRoute:
    """All traffic to one version; what is warm stays loaded."""
    return ModelRoute(
        arms=(serving(version),),
        shadows=_without(shadows, version),
        warm=_without(warm, version),
    )


def with_shadow(route: ModelRoute, version: str, rollout_id: str | None = None) -> ModelRoute:
    """The version computes after the answer; who answers does not change."""
    assert route.arms, "a shadow needs somebody who answers"
    return route.model_copy(
        update={
            "shadows": (*_without(route.shadows, version), version),
            "warm": _without(route.warm, version),
            "rollout_id": rollout_id or route.rollout_id,
        }
    )


def with_warm(route: ModelRoute, version: str) -> ModelRoute:
    """The version is loaded and takes no traffic."""
    if version in route.versions():
        return route
    return route.model_copy(update={"warm": (*route.warm, version)})


def with_canary(
    route: ModelRoute, version: str, weight: float, *, salt: str, rollout_id: str, step: int
) -> ModelRoute:
    """Split between production and the canary by whole buckets, so that weights sum to one."""
    assert 0 < weight <= 1
    baseline = production_of(route)
    assert baseline is not None
    share = round(weight * BUCKETS) / BUCKETS
    return ModelRoute(
        arms=(
            Arm(version=baseline, variant="production", weight=1.0 - share),
            Arm(version=version, variant="canary", weight=share),
        ),
        salt=salt,
        rollout_id=rollout_id,
        step=step,
        shadows=_without(route.shadows, version),
        warm=_without(route.warm, version),
    )


def with_arms(
    route: ModelRoute, arms: Sequence[tuple[str, str, float]], *, salt: str, experiment_id: str
) -> ModelRoute:
    """An experiment: (name, version, weight) with the control first; weights sum to one."""
    total = sum(round(weight * BUCKETS) for _, _, weight in arms[1:])
    assert 0 < total < BUCKETS
    shares = [round(weight * BUCKETS) / BUCKETS for _, _, weight in arms[1:]]
    first = (BUCKETS - total) / BUCKETS
    taken = {version for _, version, _ in arms}
    return ModelRoute(
        arms=tuple(
            Arm(
                version=version,
                variant="production" if at == 0 else "arm",
                weight=weight,
                name=name,
            )
            for at, ((name, version, _), weight) in enumerate(
                zip(arms, (first, *shares), strict=True)
            )
        ),
        salt=salt,
        # The served log carries one id; readers of evidence need not know which kind it is.
        rollout_id=experiment_id,
        experiment_id=experiment_id,
        shadows=tuple(v for v in route.shadows if v not in taken),
        warm=tuple(v for v in route.warm if v not in taken),
    )


def without(route: ModelRoute, version: str) -> ModelRoute:
    """The version is neither shadowing nor kept warm; it must not be serving."""
    assert all(arm.version != version for arm in route.arms)
    return route.model_copy(
        update={
            "shadows": _without(route.shadows, version),
            "warm": _without(route.warm, version),
        }
    )


def _without(versions: Iterable[str], version: str) -> tuple[str, ...]:
    return tuple(v for v in versions if v != version)
