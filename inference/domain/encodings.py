"""Content encodings of the Open Inference Protocol's clients: gzip and deflate."""

import zlib

ENCODINGS = ("gzip", "deflate")


class NotEncoded(ValueError):
    """The body is not what its content encoding says."""


class TooLong(ValueError):
    """The decompressed body is larger than allowed."""


def inflated(body: bytes, bytes_max: int) -> bytes:
    """A gzip or zlib body, decompressed; never more than ``bytes_max`` bytes are made.

    Raises ``NotEncoded`` or ``TooLong``.
    """
    inflater = zlib.decompressobj(32 + zlib.MAX_WBITS)  # + 32 tells gzip and zlib apart by itself
    try:
        plain = inflater.decompress(body, bytes_max)
    except zlib.error as wrong:
        raise NotEncoded("the body is not encoded as it says") from wrong
    if inflater.unconsumed_tail:
        raise TooLong("the decompressed body is larger than allowed")
    if not inflater.eof:
        raise NotEncoded("the encoded body ends too early")
    if inflater.unused_data:
        raise NotEncoded("there are bytes behind the encoded body")
    return plain


def deflated(body: bytes, encoding: str) -> bytes:
    """The body in one of ``ENCODINGS``, fast rather than small."""
    wbits = (16 if encoding == "gzip" else 0) + zlib.MAX_WBITS
    deflater = zlib.compressobj(1, zlib.DEFLATED, wbits)
    return deflater.compress(body) + deflater.flush()
