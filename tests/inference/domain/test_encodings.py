"""Bodies are decompressed up to a bound, and no further."""

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.domain.encodings import ENCODINGS, NotEncoded, TooLong, deflated, inflated


@given(st.binary(max_size=500), st.sampled_from(ENCODINGS))
def test_what_is_deflated_inflates_to_itself(body: bytes, encoding: str) -> None:
    assert inflated(deflated(body, encoding), 1_000) == body


@given(st.binary(max_size=100))
def test_garbage_is_refused(body: bytes) -> None:
    try:
        inflated(body, 1_000)
    except (NotEncoded, TooLong):
        return
    assert zlib.decompressobj(32 + zlib.MAX_WBITS).decompress(body) is not None


def test_a_bomb_is_stopped_at_the_bound() -> None:
    with pytest.raises(TooLong):
        inflated(gzip.compress(bytes(1 << 20)), 1 << 10)


def test_bytes_behind_the_encoded_body_are_refused() -> None:
    with pytest.raises(NotEncoded):
        inflated(gzip.compress(b"x") + b"y", 1_000)


def test_a_body_that_ends_early_is_refused() -> None:
    with pytest.raises(NotEncoded):
        inflated(gzip.compress(b"x" * 100)[:-4], 1_000)
