"""Sticky assignment: the same unit falls into the same bucket in every service."""

from hashlib import sha256

BUCKETS = 10_000


def bucket_of(salt: str, unit: str) -> int:
    """The bucket in [0, 10000): first 8 bytes of sha256(salt ":" unit), scaled.

    Multiply-and-shift keeps the buckets equal to within 1 in 2**50; a modulo would not.
    """
    digest = sha256(f"{salt}:{unit}".encode()).digest()
    return (int.from_bytes(digest[:8], "big") * BUCKETS) >> 64
