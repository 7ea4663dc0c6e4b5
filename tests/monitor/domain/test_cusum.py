"""Page's CUSUM: the promised run length, by simulation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.domain import cusum


@given(st.integers(1, 5000))
def test_the_limit_gives_the_run_length_asked_for(series: int) -> None:
    limit = cusum.limit_for(series)
    wanted = series * cusum.DAYS_TO_A_FALSE_TICKET
    assert cusum.run_length(limit) == pytest.approx(wanted, rel=1e-6)


def test_siegmunds_formula_holds_in_simulation() -> None:
    # Montgomery, Introduction to SPC: k = 0.5, h = 4 has 338.1 by Siegmund, 336 exactly.
    assert cusum.run_length(4.0, 0.5) == pytest.approx(338.1, abs=0.1)
    rng = np.random.default_rng(12)
    totals, crossings, days = np.zeros(4000), 0, 600
    for _ in range(days):
        totals = np.maximum(0, totals + rng.normal(size=4000) - cusum.SLACK)
        over = totals > 3.0
        crossings += int(over.sum())
        totals[over] = 0
    assert 4000 * days / crossings == pytest.approx(cusum.run_length(3.0), rel=0.15)


def test_a_step_never_falls_below_zero() -> None:
    assert cusum.step(0.0, -3.0) == 0
    assert cusum.step(1.0, 2.0) == pytest.approx(2.25)
