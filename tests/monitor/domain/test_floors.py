"""A floor is breached by a whole interval, never by a point."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.domain.floors import HIGH_IS_GOOD, LOW_IS_GOOD, Floor, read_floors


def test_texts_become_floors() -> None:
    assert read_floors(["delay:accuracy=0.75", "*:log_loss=0.6"]) == (
        Floor("delay", "accuracy", 0.75),
        Floor("*", "log_loss", 0.6),
    )
    assert read_floors([]) == ()


@pytest.mark.parametrize(
    "text",
    ["", "accuracy=0.7", ":accuracy=0.7", "delay:accuracy", "delay:speed=1", "delay:accuracy=75",
     "delay:accuracy=0", "delay:brier=nan", "delay:brier=inf", "delay:brier=low"],
)  # fmt: skip
def test_a_text_that_is_no_floor_is_refused_by_name(text: str) -> None:
    with pytest.raises(ValueError, match="quality floor"):
        read_floors([text])


def test_a_star_holds_for_every_model() -> None:
    assert Floor("*", "brier", 0.2).holds_for("delay")
    assert Floor("delay", "brier", 0.2).holds_for("delay")
    assert not Floor("delay", "brier", 0.2).holds_for("other")


ENDS = st.floats(0.01, 0.99)


@given(st.sampled_from((*HIGH_IS_GOOD, *LOW_IS_GOOD)), ENDS, ENDS, ENDS)
def test_it_breaches_exactly_when_the_whole_interval_is_beyond(
    metric: str, one: float, other: float, limit: float
) -> None:
    low, high = min(one, other), max(one, other)
    level = Floor("m", metric, limit).level({f"{metric}_interval": [low, high]})
    assert level is not None
    wholly = high < limit if metric in HIGH_IS_GOOD else low > limit
    partly = low < limit if metric in HIGH_IS_GOOD else high > limit
    if wholly:
        assert level >= 1 - 1e-9
    elif limit not in (low, high):
        assert level < 1 + 1e-9
    assert (level > 0) == partly


def test_a_point_on_the_floor_recovers_and_an_open_interval_says_nothing() -> None:
    floor = Floor("m", "accuracy", 0.75)
    assert floor.level({"accuracy_interval": [0.70, 0.80]}) == pytest.approx(0.5)
    assert floor.level({"accuracy_interval": [None, 0.80]}) is None
    assert floor.level({}) is None
