"""Units stick to their arms, and arms get what their weights say."""

from hypothesis import given
from hypothesis import strategies as st

from contracts.assignment import BUCKETS
from contracts.routing import Arm, ModelRoute
from inference.domain.split import split_of, unit_of, units_of

UNITS = [f"unit-{index}" for index in range(4_000)]


def route(*weights: float, salt: str = "s") -> ModelRoute:
    arms = tuple(
        Arm(version=str(index), variant="arm", weight=weight)
        for index, weight in enumerate(weights)
    )
    return ModelRoute(arms=arms, salt=salt)


def test_one_arm_takes_all() -> None:
    assert set(split_of(route(1.0)).arms_of(UNITS)) == {0}


def test_arms_get_their_share() -> None:
    arms = split_of(route(0.5, 0.3, 0.2)).arms_of(UNITS)
    for arm, weight in enumerate((0.5, 0.3, 0.2)):
        assert abs(arms.count(arm) / len(UNITS) - weight) < 0.03


def test_the_small_canary_is_inside_the_larger_one() -> None:
    small = split_of(route(0.95, 0.05)).arms_of(UNITS)
    large = split_of(route(0.8, 0.2)).arms_of(UNITS)
    assert all(after for before, after in zip(small, large, strict=True) if before)


def test_a_canary_without_weight_gets_nobody_and_a_full_one_everybody() -> None:
    assert set(split_of(route(1.0, 0.0)).arms_of(UNITS)) == {0}
    assert set(split_of(route(0.0, 1.0)).arms_of(UNITS)) == {1}
    assert split_of(route(0.0, 1.0)).ends == (BUCKETS,)


parts = st.lists(st.none() | st.text(alphabet="a|\\", max_size=4), min_size=2, max_size=3)


@given(parts, parts)
def test_different_keys_never_make_the_same_unit(
    one: list[str | None], two: list[str | None]
) -> None:
    def plain(key: list[str | None]) -> list[str]:
        return ["" if part is None else part for part in key]

    if len(one) == len(two):
        assert (unit_of(one) == unit_of(two)) == (plain(one) == plain(two))


@given(st.lists(st.dictionaries(st.sampled_from("ab"), st.none() | st.text(max_size=3))))
def test_units_of_many_rows_are_those_of_each(rows: list[dict[str, str | None]]) -> None:
    for keys in (("a",), ("a", "b"), ()):
        assert units_of(rows, keys) == [unit_of([row.get(key) for key in keys]) for row in rows]
