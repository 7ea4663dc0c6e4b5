"""Buckets are sticky, even, and pinned: another implementation must find the same."""

from collections import Counter

from contracts.assignment import BUCKETS, bucket_of


def test_the_bucket_of_a_unit_is_pinned() -> None:
    # The first 16 digits of `printf salt:user-1 | sha256sum`.
    assert bucket_of("salt", "user-1") == (int("be8207e78208abb3", 16) * BUCKETS >> 64)


def test_units_spread_evenly() -> None:
    tenths = Counter(bucket_of("s", f"u{i}") * 10 // BUCKETS for i in range(20_000))
    # 2,000 expected each with standard deviation 42; five of them on either side.
    assert all(1_790 < tenths[tenth] < 2_210 for tenth in range(10))


def test_another_salt_shuffles_the_units() -> None:
    same = sum(
        bucket_of("a", f"u{i}") // 1000 == bucket_of("b", f"u{i}") // 1000 for i in range(5000)
    )
    assert 380 < same < 620  # 500 expected by chance
