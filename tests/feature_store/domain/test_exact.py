"""Sums are the real sum, rounded once, in whatever order and however cut into parts."""

import math
import struct
from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from feature_store.domain.exact import exact_sum, expansion

numbers = st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=12)


def bits(value: float) -> bytes:
    return b"nan" if math.isnan(value) else struct.pack("<d", value)


@settings(max_examples=60, deadline=None)
@given(numbers)
def test_the_sum_is_the_nearest_float_to_the_real_sum(values: list[float]) -> None:
    real = sum(map(Fraction, values), Fraction(0))
    try:
        nearest = float(real)
    except OverflowError:
        nearest = math.inf if real > 0 else -math.inf
    assert bits(exact_sum(values)) == bits(nearest + 0.0)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.floats(), max_size=6), max_size=4))
def test_parts_add_up_to_the_sum_of_the_whole(parts: list[list[float]]) -> None:
    whole = [value for part in parts for value in part]
    from_parts = exact_sum([value for part in parts for value in expansion(part)])
    assert bits(from_parts) == bits(exact_sum(whole))


def test_what_is_not_finite_decides() -> None:
    assert math.isnan(exact_sum([math.inf, -math.inf, 1.0]))
    assert math.isnan(exact_sum([math.nan, math.inf]))
    assert exact_sum([1e308, 1e308, math.inf]) == math.inf
    assert exact_sum([1e308, 1e308, -1e308, -1e308, 3.0]) == 3.0
    assert bits(exact_sum([-0.0])) == bits(0.0)


def test_a_finite_sum_that_no_float_holds_is_infinite() -> None:
    assert exact_sum([1e308, 1e308]) == math.inf
    assert exact_sum(expansion([-1e308, -1e308])) == -math.inf
