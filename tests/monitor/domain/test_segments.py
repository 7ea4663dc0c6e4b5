"""A segment is held against its own past, and against what the whole did."""

from collections.abc import Sequence

import numpy as np
import pytest

from monitor.domain.baseline import build_profile
from monitor.domain.edges import Floats
from monitor.domain.reference import Reference, reference_of
from monitor.domain.segments import Pair, judge_segment, judge_segments
from monitor.domain.windows import count_column
from tests.monitor.world import training

REFERENCES = {
    name: reference_of(column)
    for name, column in build_profile("m", "classification", training()).columns.items()
}
DISTANCE, ORIGIN = REFERENCES["distance"], REFERENCES["origin"]


def pair(
    reference: Reference, segment: Sequence[str] | Floats, rest: Sequence[str] | Floats
) -> Pair:
    """Counts of a segment and of the whole it is part of."""
    parts = []
    for values in (segment, rest):
        array = np.array(values, dtype=np.float64 if reference is DISTANCE else object)
        parts.append(count_column(reference, array, np.zeros(len(values), np.uint8), 0))
    return parts[0], parts[0] + parts[1]


def far(random: np.random.Generator, rows: int, shift: float = 0.0) -> Floats:
    """A segment whose flights are shorter than the whole's, always."""
    values: Floats = random.normal(950 + 200 * shift, 200, rows)
    return values


def calm(random: np.random.Generator, jitter: float = 0.05) -> list[Pair]:
    return [
        pair(DISTANCE, far(random, 400, jitter * random.normal()), random.normal(1_100, 200, 800))
        for _ in range(14)
    ]


def test_a_segment_that_always_differed_from_the_whole_is_calm() -> None:
    random = np.random.default_rng(1)
    breaches = 0
    for _ in range(60):
        now = pair(DISTANCE, far(random, 400), random.normal(1_100, 200, 800))
        (one,) = judge_segments({("s", "d"): judge_segment(DISTANCE, now, calm(random), 200)})
        assert one.level is not None
        breaches += one.level >= 1
    assert breaches == 0


def test_a_segment_that_moves_alone_is_found_and_described() -> None:
    random = np.random.default_rng(2)
    now = pair(DISTANCE, far(random, 400, 0.8), random.normal(1_100, 200, 800))
    drift = judge_segment(DISTANCE, now, calm(random), 200)
    (one,) = judge_segments({("origin=EWR", "distance"): drift})
    assert one.level is not None
    assert one.level >= 1
    assert drift is not None
    assert drift.low < drift.excess < drift.distance
    assert "distance in origin=EWR: distance 0." in one.sentence
    assert "from its own 14 earlier days on 400 rows" in one.sentence
    assert one.evidence["q"] < 0.05


def test_what_moves_everything_is_no_affair_of_a_segment() -> None:
    random = np.random.default_rng(3)
    now = pair(DISTANCE, far(random, 400, 0.8), random.normal(1_100 + 160, 200, 800))
    (one,) = judge_segments({("s", "d"): judge_segment(DISTANCE, now, calm(random), 200)})
    assert one.level is not None
    assert one.level < 0.7


def test_the_mix_of_categories_within_a_segment_is_judged_too() -> None:
    random = np.random.default_rng(4)

    def day(share: float) -> Pair:
        names = random.choice(["EWR", "JFK", "LGA"], 500, p=[share, 0.9 - share, 0.1])
        return pair(ORIGIN, names.tolist(), ["LGA"] * 500)

    days = [day(0.5) for _ in range(14)]
    calm_one, moved = (judge_segment(ORIGIN, day(share), days, 200) for share in (0.5, 0.2))
    levels = [one.level for one in judge_segments({("s", "a"): calm_one, ("s", "b"): moved})]
    assert levels[0] == pytest.approx(0.0, abs=0.7)
    assert levels[1] is not None
    assert levels[1] >= 1


def test_too_few_rows_or_days_say_nothing() -> None:
    random = np.random.default_rng(5)
    days = calm(random)
    few = pair(DISTANCE, far(random, 150), far(random, 800))
    enough = pair(DISTANCE, far(random, 400), far(random, 800))
    assert judge_segment(DISTANCE, few, days, 200) is None
    assert judge_segment(DISTANCE, enough, days[:6], 200) is None
    (one,) = judge_segments({("s", "d"): None})
    assert one.level is None
