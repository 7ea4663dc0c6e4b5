"""What a night's stored rows say, finer than hourly counts."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from contracts.profile import BaselineProfile
from monitor.domain.night import PARTS_OVER, ROWS_MAX, Night, evenly
from monitor.domain.rows import HOUR_US
from monitor.domain.tally import Layout
from tests.monitor.domain.test_tally import rows
from tests.monitor.world import NOW_US, baseline_bytes, training

LAYOUT = Layout("sha", BaselineProfile.model_validate_json(baseline_bytes()), (), 8)
DAY = (NOW_US, NOW_US + 24 * HOUR_US)


def test_the_exact_test_lies_between_the_ends_that_are_told() -> None:
    night = Night(LAYOUT, None, *DAY)
    live = rows(3_000)
    night.add([live], ["production"])
    for name in ("distance", "late_7d"):
        exact = stats.ks_2samp(
            np.float32(training()[name]), np.float32(live.numbers[name]), method="asymp"
        )
        told = night.fine()[name]
        assert told["distance"] <= exact.statistic <= told["distance_max"]
        assert told["distance_max"] - told["distance"] < 0.0011
        assert told["p_least"] - 3e-4 <= exact.pvalue <= told["p"] + 3e-4


def test_only_answered_rows_of_the_night_and_its_variants_count() -> None:
    night = Night(LAYOUT, None, *DAY)
    failed = rows(50, outcome=np.full(50, 3, np.uint8))
    other = rows(50, event_us=np.full(50, DAY[1]))
    night.add([rows(70), failed, other], ["production"])
    night.add([rows(20)], ["shadow"])
    assert night.rows == 70


@given(st.lists(st.integers(0, 40), min_size=1, max_size=6), st.integers(1, 7))
@settings(max_examples=20, deadline=None)
def test_every_third_row_is_taken_wherever_parts_are_cut(sizes: list[int], every: int) -> None:
    night = Night(LAYOUT, None, *DAY, every)
    for seed, size in enumerate(sizes):
        night.add([rows(size, seed)], ["production"])
    assert night.rows == -(-sum(sizes) // every)


@pytest.mark.parametrize("total", [0, 1, ROWS_MAX, ROWS_MAX + 1, 10 * ROWS_MAX, 500 * ROWS_MAX])
def test_a_large_night_is_read_evenly_and_never_far_beyond_what_is_needed(total: int) -> None:
    parts = [f"part-{i}" for i in range(1000)]
    names, every = evenly(parts, total)
    taken = total * len(names) / len(parts) / every
    assert taken <= ROWS_MAX * 1.05
    assert total * len(names) / len(parts) <= 2.1 * PARTS_OVER * ROWS_MAX
    assert total <= ROWS_MAX or taken >= ROWS_MAX / 2.1
    assert names[0] == "part-0"
    assert int(names[-1].split("-")[1]) >= 1000 - 1.1 * len(parts) / len(names)
