"""Routes: weights sum to one, the 5 % are inside the 20 %, and buckets are as wide as they say."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.assignment import BUCKETS, bucket_of
from contracts.routing import ModelRoute
from registry.domain.traffic import only, with_arms, with_canary, with_shadow, with_warm, without

weights = st.integers(1, BUCKETS).map(lambda buckets: buckets / BUCKETS)
versions = st.lists(st.sampled_from("3456789"), max_size=4, unique=True)


def arm_of(route: ModelRoute, unit: str) -> str:
    """The law of ``contracts.routing``: later arms take the lowest buckets, the first the rest."""
    bucket, upper = bucket_of(route.salt, unit), 0
    for arm in route.arms[1:]:
        upper += round(arm.weight * BUCKETS)
        if bucket < upper:
            return arm.version
    return route.arms[0].version


def canary(weight: float, route: ModelRoute | None = None, salt: str = "s") -> ModelRoute:
    return with_canary(route or only("1"), "2", weight, salt=salt, rollout_id="r", step=1)


@given(weight=weights, warm=versions, shadows=versions)
def test_a_canary_and_its_baseline_share_everything(
    weight: float, warm: list[str], shadows: list[str]
) -> None:
    route = canary(weight, only("1", warm, shadows))
    assert sum(arm.weight for arm in route.arms) == pytest.approx(1.0, abs=1e-12)
    assert (route.warm, route.shadows) == (tuple(warm), tuple(shadows))
    assert len(set(route.versions())) == len(route.versions())


@given(
    pair=st.tuples(weights, weights).map(sorted),
    salt=st.text(min_size=1, max_size=8),
    units=st.lists(st.text(max_size=12), min_size=1, max_size=50),
)
def test_who_is_in_a_small_canary_is_in_the_larger_one(
    pair: list[float], salt: str, units: list[str]
) -> None:
    small, large = (canary(weight, salt=salt) for weight in pair)
    for unit in units:
        if arm_of(small, unit) == "2":
            assert arm_of(large, unit) == "2"


def test_the_share_of_units_is_the_weight() -> None:
    route = canary(0.2)
    inside = sum(arm_of(route, f"unit-{at}") == "2" for at in range(20_000))
    assert abs(inside / 20_000 - 0.2) < 4 * (0.2 * 0.8 / 20_000) ** 0.5


@given(shares=st.lists(st.integers(1, 1000), min_size=1, max_size=5))
def test_an_experiments_arms_share_everything_in_whole_buckets(shares: list[int]) -> None:
    rest = 1 - sum(shares) / BUCKETS
    arms = [("control", "1", rest)]
    arms += [(f"arm{at}", str(at + 2), share / BUCKETS) for at, share in enumerate(shares)]
    route = with_arms(only("1"), arms, salt="s", experiment_id="e")
    assert sum(round(arm.weight * BUCKETS) for arm in route.arms) == BUCKETS
    assert [round(arm.weight * BUCKETS) for arm in route.arms[1:]] == shares
    assert route.experiment_id == route.rollout_id == "e"


def test_a_version_is_named_once_however_it_moves() -> None:
    route = with_warm(only("1"), "2")
    route = with_shadow(route, "2", "r")
    assert (route.shadows, route.warm) == (("2",), ())
    assert canary(0.05, route).versions() == ("1", "2")
    assert without(route, "2").versions() == ("1",)


def test_only_a_version_that_does_not_serve_can_be_dropped() -> None:
    with pytest.raises(AssertionError):
        without(only("1"), "1")
