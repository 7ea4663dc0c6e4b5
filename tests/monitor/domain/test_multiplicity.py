"""False-discovery rates against scipy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from monitor.domain import multiplicity


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40))
def test_q_values_equal_scipys(p: list[float]) -> None:
    theirs = stats.false_discovery_control(p, method="bh")
    assert multiplicity.q_values(p) == pytest.approx(theirs, abs=1e-12)


def test_no_tests_have_no_q_values() -> None:
    assert multiplicity.q_values([]).tolist() == []


def test_scores_are_normal_quantiles_within_limits() -> None:
    p = np.array([0.5, 0.025, 0.0, 1.0])
    assert multiplicity.z_of(p) == pytest.approx([0, stats.norm.isf(0.025), 8, -3])
