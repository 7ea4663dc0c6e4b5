"""Numbers in words."""

import pytest

from registry.domain.plan import GuardPlan
from registry.domain.sentences import blocks, duration, effect_of, harm_of
from tests.registry.scenes import found

LATENCY = GuardPlan(name="latency", kind="latency", margin=0.25, slo_ms=25.0)
ACCURACY = GuardPlan(name="accuracy", kind="accuracy", direction="lower_is_worse", margin=0.01)


def test_latency_is_told_as_answers_over_its_limit() -> None:
    slow = found(
        "latency", baseline_value=0.0, candidate_value=1.0, estimate=199.0, low=8.2, high=199.0
    )
    assert effect_of(LATENCY, slow) == (
        "answers over 25 ms 100 % against 0 %, over 199 times [9.200, 200.000],"
    )


def test_a_guard_that_must_not_fall_has_a_negative_limit() -> None:
    less = found("accuracy", estimate=-0.03, low=-0.05, high=-0.012)
    assert harm_of(ACCURACY, less) == ("accuracy -0.030 [-0.050, -0.012] against a limit of -0.010")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (59, "59 s"),
        (300, "5 min"),
        (3600, "1 h"),
        (172_800, "2 d"),
        (100_000, "27.8 h"),
    ],
)
def test_durations_are_told_in_the_unit_that_fits(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_blocks_have_the_name_of_their_length() -> None:
    assert blocks(1, 86_400) == "1 day block"
    assert blocks(3, 3600) == "3 hour blocks"
    assert blocks(2, 300) == "2 blocks of 5 min"
