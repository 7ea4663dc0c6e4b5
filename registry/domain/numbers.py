"""The numbers by which people and services know versions, rollouts and experiments."""

from collections.abc import Iterable

VERSION = r"^[1-9][0-9]{0,8}$"


def numbers_in(ids: Iterable[str]) -> list[int]:
    """Of versions, ``3``, as of acts, ``ro-delay-3``."""
    return [int(one.rpartition("-")[2]) for one in ids]
