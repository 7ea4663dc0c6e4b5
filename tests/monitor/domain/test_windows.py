"""Live windows: integers that add up."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.served import STATUSES
from monitor.domain import windows
from monitor.domain.baseline import column_profile
from monitor.domain.reference import CategoricalReference, NumericReference, reference_of

RNG = np.random.default_rng(13)
NUMERIC = reference_of(column_profile(RNG.normal(size=5000)))
CARRIER = reference_of(
    column_profile(np.array(["UA", "AA", "DL"], dtype=object)[RNG.integers(0, 3, 900)])
)
NUMBERS = st.lists(
    st.one_of(st.floats(-5, 5), st.sampled_from([np.nan, np.inf, -np.inf])), max_size=60
)


def _status(name: str) -> int:
    return STATUSES.index(name)


@given(NUMBERS, NUMBERS)
@settings(max_examples=60)
def test_counting_two_halves_and_adding_equals_counting_the_whole(
    first: list[float], second: list[float]
) -> None:
    a, b = (windows.count_column(NUMERIC, np.array(part)) for part in (first, second))
    whole = windows.count_column(NUMERIC, np.array(first + second))
    assert (a + b).integers.tolist() == whole.integers.tolist()
    assert (a + b).sums == pytest.approx(whole.sums)


@given(NUMBERS)
@settings(max_examples=40)
def test_a_window_survives_its_bytes(values: list[float]) -> None:
    window = windows.count_column(NUMERIC, np.array(values), weekday=3)
    again = windows.ColumnCounts.unpack(window.pack())
    assert again.integers.tolist() == window.integers.tolist()
    assert again.sums.tolist() == window.sums.tolist()
    assert again.weekday_rows[3] == len(values)


def test_null_missing_nan_and_infinities_are_told_apart() -> None:
    values = np.array([1.0, np.nan, np.nan, np.nan, np.inf, -np.inf, np.nan])
    names = ("PRESENT", "NULL_VALUE", "NOT_FOUND", "PRESENT", "PRESENT", "DEFAULTED", "UNAVAILABLE")
    statuses = np.array([_status(name) for name in names], dtype=np.uint8)
    window = windows.count_column(NUMERIC, values, statuses)
    facts = {name: window.fact(name) for name in ("rows", "nulls", "missing", "nans")}
    assert facts == {"rows": 7, "nulls": 1, "missing": 2, "nans": 1}
    assert window.fact("positive_inf") == window.fact("negative_inf") == 1
    assert window.counted == 1
    assert window.statuses.sum() == 7


def test_values_outside_the_training_range_are_counted() -> None:
    window = windows.count_column(NUMERIC, np.array([-99.0, 0.0, 99.0, 100.0]))
    assert (window.fact("below"), window.fact("above")) == (1, 2)
    assert window.counted == 4


def test_categories_null_and_never_seen() -> None:
    statuses = np.array([0, 0, _status("NULL_VALUE"), 0], dtype=np.uint8)
    window = windows.count_column(CARRIER, ("UA", "XX", None, "UA"), statuses)
    assert isinstance(CARRIER, CategoricalReference)
    assert window.cells[CARRIER.index["UA"]] == 2
    assert (window.fact("above"), window.fact("nulls"), window.counted) == (1, 1, 3)


def test_numbers_of_a_categorical_column_are_matched_by_their_key() -> None:
    reference = reference_of(column_profile(np.array([0.1, 1.0, 1.0, np.nan])))
    window = windows.count_column(reference, np.array([0.1, 1.0, 7.5, np.nan], dtype=np.float32))
    assert isinstance(reference, CategoricalReference)
    assert window.cells[reference.index["0.1"]] == 1
    assert (window.fact("above"), window.fact("nulls")) == (1, 1)


def test_text_in_a_numeric_column_never_looks_clean() -> None:
    window = windows.count_column(NUMERIC, ("a", "b"), np.zeros(2, dtype=np.uint8))
    assert (window.fact("nans"), window.counted) == (2, 0)


def test_a_million_distinct_categories_take_no_more_room_than_three() -> None:
    names = [f"c{i}" for i in range(20_000)]
    window = windows.count_column(CARRIER, names)
    assert len(window.integers) == len(windows.empty(CARRIER).integers)
    assert window.fact("above") == 20_000


def test_the_moments_are_of_the_finite_values() -> None:
    assert isinstance(NUMERIC, NumericReference)
    values = RNG.normal(1.0, 2.0, size=4000).astype(np.float32)
    window = windows.count_column(NUMERIC, np.append(values, np.nan))
    centred = values.astype(float) - NUMERIC.profile.mean
    assert window.sums == pytest.approx([centred.sum(), np.square(centred).sum()])
