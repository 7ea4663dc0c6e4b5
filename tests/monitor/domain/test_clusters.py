"""Sums by unit and block."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.domain import clusters
from monitor.domain.clusters import Cells


def cells_of(rows: list[tuple[int, int, int, bool, int, float]]) -> Cells:
    """Cells from (step, block, unit, candidate, rows, total)."""
    step, block, unit, candidate, count, total = zip(*rows, strict=True)
    return Cells(
        np.array(step),
        np.array(block),
        np.array(unit),
        np.array(candidate, dtype=bool),
        np.array(count),
        np.array(total, dtype=float),
    )


def test_a_unit_counts_once_however_many_rows_it_has() -> None:
    cells = cells_of([(0, 0, 1, True, 100, 100.0), (0, 0, 2, True, 1, 0.0)])
    means = clusters.unit_means(cells, cells.step)
    assert means.mean.tolist() == [0.5]
    assert means.units.tolist() == [2]
    assert means.rows.tolist() == [101]
    assert means.variance.tolist() == [pytest.approx(np.var([1.0, 0.0], ddof=1) / 2)]


@given(
    st.lists(
        st.tuples(
            st.integers(0, 2),
            st.integers(0, 3),
            st.integers(0, 5),
            st.booleans(),
            st.integers(1, 4),
            st.floats(-3, 3),
        ),
        min_size=1,
        max_size=30,
    )
)
@settings(max_examples=60)
def test_a_cell_split_in_rows_is_the_same_evidence(
    rows: list[tuple[int, int, int, bool, int, float]],
) -> None:
    whole = cells_of(rows)
    split = cells_of([(s, b, u, c, 1, t / n) for s, b, u, c, n, t in rows for _ in range(n)])
    left, right = (
        clusters.unit_means(cells, clusters.step_block(cells)) for cells in (whole, split)
    )
    assert left.key.tolist() == right.key.tolist()
    assert left.mean == pytest.approx(right.mean)
    assert left.units.tolist() == right.units.tolist()
    assert left.rows.tolist() == right.rows.tolist()


def test_only_groups_with_both_arms_are_compared() -> None:
    cells = cells_of(
        [
            (0, 0, 1, True, 1, 2.0),
            (0, 1, 2, False, 1, 1.0),
            (0, 2, 1, True, 1, 5.0),
            (0, 2, 2, False, 1, 3.0),
        ]
    )
    candidate, baseline = clusters.differences(cells, clusters.step_block(cells))
    assert candidate.key.tolist() == [2]
    assert (candidate.mean - baseline.mean).tolist() == [2.0]


def test_an_unfinished_block_waits_for_its_own_steps_size() -> None:
    cells = cells_of([(0, 0, 1, True, 1, 0.0), (1, 3, 1, True, 1, 0.0)])
    key, rows = np.array([0, 1, 4, 5, 6]), np.array([10, 11, 100, 110, 5])
    assert clusters.finished(cells, key, rows).tolist() == [True, True, True, True, False]
    assert clusters.finished(cells, key[:0], rows[:0]).tolist() == []
