"""Served against recomputed, record by record."""

import numpy as np

from monitor.domain import skew


def test_single_precision_is_no_skew_and_a_null_against_a_number_is() -> None:
    offline = np.array([0.1, 1e7, np.nan, np.nan, 3.0])
    served = np.array([np.float32(0.1), np.float32(1e7), np.nan, 0.0, 3.1], dtype=float)
    found = skew.numeric_skew(served, offline)
    assert (found.rows, found.mismatches, found.example) == (5, 2, 3)
    assert found.low < 0.4 < found.high


def test_strings_must_be_equal() -> None:
    found = skew.exact_skew(["UA", None, "AA"], ["UA", None, "DL"])
    assert (found.mismatches, found.example) == (1, 2)


def test_nothing_compared_says_nothing() -> None:
    found = skew.numeric_skew(np.array([]), np.array([]))
    assert (found.rows, found.share, found.high, found.example) == (0, 0.0, 1.0, None)
